"""CK603 to CK626: configs of any format, judged on the JSON and the headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckptkit.checks.context import HF_QUANT_FILE, Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.effects import ENGINES, Effect, Outcome
from ckptkit.engines.methods import KNOWN_METHODS, OTHER_ALGORITHMS, VLLM_ALGORITHMS
from ckptkit.engines.skip_lists import SKIP_KEYS
from ckptkit.errors import Fault, excerpt
from ckptkit.model.granularity import PerBlock, PerChannel, PerTensor
from ckptkit.rules.naming import PACKED_ENDINGS

#: kind of weight granularity -> what ModelOpt calls such FP8 weights.
_ALGORITHMS = {
    PerTensor: frozenset({"FP8"}),
    PerChannel: frozenset({"FP8_PER_CHANNEL_PER_TOKEN"}),
    PerBlock: frozenset({"FP8_PB_WO", "FP8_BLOCK_SCALES"}),
}
_SCHEMES = ("static", "dynamic")


@rule("CK603", "two-configs-disagree", Severity.WARNING)
def two_configs_disagree(context: Context) -> Iterator[Fault]:
    """``hf_quant_config.json`` and config.json describe different quantizations.

    Why it hurts: TensorRT-LLM prefers the former, vLLM and SGLang the latter. Each engine then runs another model.

    Example: ``quant_algo: NVFP4`` in one and ``FP8`` in the other after a second export into the same folder.

    Mend: decide which is right and write the other from it.
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
        own = {entry for key in SKIP_KEYS for entry in _strings(context.block.get(key))}
        difference = sorted(own ^ set(_strings(theirs)))
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


@rule("CK604", "modelopt-quantized-nothing", Severity.WARNING)
def modelopt_quantized_nothing(context: Context) -> Iterator[Fault]:
    """A ModelOpt config names no algorithm, or mixed precision without a single layer.

    Why it hurts: the quantizer's patterns matched nothing. The export looks finished, and engines stop at the missing
    algorithm or serve a BF16 model under an FP8 name.

    Example: ``{"quantization": {"quant_algo": null}}`` in ``hf_quant_config.json``.

    Mend: export again with patterns that match.
    """
    places: list[tuple[str, Mapping[str, Any]]] = []
    if context.method == "modelopt":
        nested = context.block.get("quantization")
        places.append(("config.json", nested if isinstance(nested, Mapping) else context.block))
    side = context.hf_quant_config
    if side is not None and isinstance(side.get("quantization"), Mapping):
        places.append((HF_QUANT_FILE, side["quantization"]))
    for file, section in places:
        algorithm = str(section.get("quant_algo") or "").upper()
        if not algorithm:
            yield Fault(
                "modelopt-nothing", "no quant_algo", file, None, "an algorithm", excerpt(section.get("quant_algo"))
            )
        elif (
            algorithm == "MIXED_PRECISION" and not section.get("quantized_layers") and not section.get("config_groups")
        ):
            yield Fault("modelopt-nothing", "mixed precision without layers", file, None, "quantized_layers", "none")


@rule("CK609", "skip-lists-differ", Severity.WARNING, fix="unsafe")
def skip_lists_differ(context: Context) -> Iterator[Fault]:
    """The config has several skip lists under different keys, and they differ.

    Why it hurts: vLLM takes ``ignored_layers`` and looks at ``modules_to_not_convert`` only when that is empty;
    transformers and TensorRT-LLM do the reverse.

    Example: ``ignored_layers: ["lm_head"]`` beside ``modules_to_not_convert: ["lm_head", "model.layers.0.mlp.gate"]``.

    Mend: write one list under every key that some engine reads.
    """
    lists = {
        key: frozenset(_strings(context.block[key])) for key in SKIP_KEYS if isinstance(context.block.get(key), list)
    }
    if len(set(lists.values())) > 1:
        found = "; ".join(f"{key}: {len(words)}" for key, words in lists.items())
        yield Fault(
            "skip-lists-differ",
            "skip lists under different keys differ",
            "config.json",
            None,
            "one list",
            f"entries of {found}",
        )


@rule("CK623", "method-unknown", Severity.ERROR)
def method_unknown(context: Context) -> Iterator[Fault]:
    """The name of the quantization method or algorithm is one that engines do not know.

    Why it hurts: engines stop at the name although they support the layout, or build the layer unquantized.

    Example: ``quant_method: compressed-tensor``, or ``quant_algo: FP8_BLOCKWISE`` in a ModelOpt config.

    Mend: write the name that the layout has elsewhere.
    """
    if context.located is None:
        return
    path = context.located.path
    if context.format is None and context.method not in KNOWN_METHODS:  # a third party's format knows its own
        written = context.block.get("quant_method")
        missing = "no quant_method" if written is None else "no engine knows this quant_method"
        yield Fault("method-unknown", missing, "config.json", None, f"a known {path}.quant_method", excerpt(written))
    algorithm = context.block.get("quant_algo")
    if context.method == "modelopt" and isinstance(algorithm, str) and algorithm.upper() not in VLLM_ALGORITHMS:
        known = algorithm.upper() in OTHER_ALGORITHMS
        yield Observation(
            "algorithm-unknown",
            "vLLM does not know this quant_algo" if known else "no engine that was examined knows this quant_algo",
            "config.json",
            expected=f"a {path}.quant_algo such as FP8",
            found=excerpt(algorithm),
            engines=(Effect("vllm", ENGINES["vllm"].version, Outcome.ERROR, "refused when the config is read"),),
            severity=Severity.WARNING if known else Severity.ERROR,
        )


@rule("CK624", "fp8-fields-contradict", Severity.ERROR)
def fp8_fields_contradict(context: Context) -> Iterator[Fault]:
    """The fields of a ``quant_method: fp8`` config cannot go together.

    Why it hurts: vLLM wants ``activation_scheme`` to be static or dynamic, two numbers for a block size, and dynamic
    activations with blocks; it stops otherwise.

    Example: ``weight_block_size: [128, 128]`` with ``activation_scheme: static``.

    Mend: correct the fields.
    """
    if context.method != "fp8":
        return
    scheme, block = context.block.get("activation_scheme"), context.block.get("weight_block_size")
    if scheme not in _SCHEMES:
        yield _fields("activation_scheme is neither static nor dynamic", "static or dynamic", scheme)
    if block is None:
        return
    numbers = isinstance(block, Sequence) and [type(n) is int and n > 0 for n in block] == [True, True]
    if not numbers:
        yield _fields("weight_block_size is not two numbers", "[128, 128]", block)
    elif scheme == "static":
        yield _fields("block scales go with dynamic activations only", "activation_scheme dynamic", scheme)


def _fields(message: str, expected: str, found: Any) -> Fault:
    return Fault(
        "fp8-fields", message, "config.json", None, expected, excerpt(found) if found is not None else "nothing"
    )


@rule("CK625", "config-only-nested", Severity.WARNING, fix="safe")
def config_only_nested(context: Context) -> Iterator[Fault]:
    """The quantization config sits in a sub-config only.

    Why it hurts: several engines look at the top level alone and load FP8 codes as values; names in the skip list
    mean something else when the language model is loaded on its own.

    Example: ``text_config.quantization_config`` and nothing at the top.

    Mend: copy the block to the top level, and list modules under both prefixes.
    """
    if context.located is not None and "." in context.located.path:
        message = "the quantization config is not at the top level"
        yield Fault("config-nested", message, "config.json", None, "quantization_config", context.located.path)


@rule("CK626", "storage-mixed", Severity.WARNING)
def storage_mixed(context: Context) -> Iterator[Fault]:
    """Weights of another quantization are stored beside FP8 ones, under a config that describes one method.

    Why it hurts: an engine that takes the one method for all modules skips the scales of the others and computes
    garbage.

    Example: packed INT4 experts (``qweight``) beside FP8 attention (``weight_scale``) under ``quant_method: gptq``.

    Mend: declare the scheme of each group of modules.
    """
    if not context.fp8_weights:
        return
    kinds: dict[str, str] = {}
    for name in context.container.tensors:
        last = name.rpartition(".")[2]
        if last in PACKED_ENDINGS:
            kinds.setdefault(last, name)
    for last, name in kinds.items():
        message = "weights of another quantization beside FP8 weights"
        tensor = context.container.tensors[name]
        found = f"{tensor.dtype} {last}"
        yield Fault("storage-mixed", message, tensor.shard, name, "FP8 or high precision only", found)


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()
