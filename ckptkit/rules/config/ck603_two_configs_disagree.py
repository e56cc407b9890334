"""CK603 two-configs-disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ckptkit.checks.context import HF_QUANT_FILE, Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.skip_lists import SKIP_KEYS
from ckptkit.errors import Fault
from ckptkit.model.granularity import PerBlock, PerChannel, PerTensor
from ckptkit.rules.config.block import strings

#: kind of weight granularity -> what ModelOpt calls such FP8 weights.
_ALGORITHMS = {
    PerTensor: frozenset({"FP8"}),
    PerChannel: frozenset({"FP8_PER_CHANNEL_PER_TOKEN"}),
    PerBlock: frozenset({"FP8_PB_WO", "FP8_BLOCK_SCALES"}),
}


@rule(
    "CK603",
    "two-configs-disagree",
    Severity.WARNING,
    reports=(
        "NVIDIA/TensorRT-LLM#3167",
        "sgl-project/sglang#13919",
        "vllm-project/vllm#22073",
    ),
)
def two_configs_disagree(context: Context) -> Iterator[Fault]:
    """``hf_quant_config.json`` and config.json describe different quantizations.

    Why it hurts: TensorRT-LLM prefers the former, vLLM and SGLang the latter. Each engine then runs another model.

    Example: ``quant_algo: NVFP4`` in one and ``FP8`` in the other after a second export into the same folder.

    Fix: decide which is right and write the other from it.
    """
    side = context.hf_quant_config
    if side is None or not context.block:
        return
    legacy = side.get("quantization")
    legacy = legacy if isinstance(legacy, Mapping) else {}
    algorithm, ours = str(legacy.get("quant_algo") or "").upper(), _algorithms(context)
    if ours and algorithm and algorithm not in ours:
        yield _disagreement("quantization.quant_algo", " or ".join(sorted(ours)), algorithm)
    kv = bool(legacy.get("kv_cache_quant_algo"))
    if kv != _declares_kv(context):
        where = "config.json declares an FP8 KV cache" if _declares_kv(context) else "config.json declares none"
        yield _disagreement("quantization.kv_cache_quant_algo", where, str(legacy.get("kv_cache_quant_algo")))
    theirs = legacy.get("exclude_modules")
    if isinstance(theirs, list):
        own = {entry for key in SKIP_KEYS for entry in strings(context.block.get(key))}
        difference = sorted(own ^ set(strings(theirs)))
        if difference:
            yield _disagreement(
                "quantization.exclude_modules", "the same entries as config.json", f"differ in {difference[0]!r}"
            )


def _disagreement(path: str, expected: str, found: str) -> Fault:
    return Fault("configs-disagree", f"{path} says otherwise than config.json", HF_QUANT_FILE, None, expected, found)


def _algorithms(context: Context) -> frozenset[str]:
    """ModelOpt's words for what config.json declares; empty when they cannot be told."""
    if context.method == "modelopt":
        algorithm = str(context.block.get("quant_algo") or "").upper()
        return frozenset({algorithm}) if algorithm else frozenset()
    found: set[str] = set()
    for scheme in context.checkpoint.schemes if context.checkpoint else ():
        found |= _ALGORITHMS.get(type(scheme.weight.granularity), frozenset())
    return frozenset({*found, "MIXED_PRECISION"}) if found else frozenset()


def _declares_kv(context: Context) -> bool:
    checkpoint = context.checkpoint
    if checkpoint is not None:
        return checkpoint.kv_cache is not None and checkpoint.kv_cache.scheme is not None
    return bool(context.block.get("kv_cache_scheme") or context.block.get("kv_cache_quant_algo"))
