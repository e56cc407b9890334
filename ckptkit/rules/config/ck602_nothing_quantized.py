"""CK602 nothing-quantized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.checks.config_keys import keys_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.checks.skip_lists import engines_that_build
from ckptkit.engines.parallel import is_split_alone
from ckptkit.errors import Fault
from ckptkit.rules.config.skip_entries import nothing_is_quantized


@rule(
    "CK602",
    "nothing-quantized",
    Severity.ERROR,
    reports=(
        "huggingface/transformers#37250",
        "sgl-project/sglang#23841",
        "hiyouga/LlamaFactory#6777",
    ),
)
def nothing_quantized(context: Context) -> Iterator[Fault]:
    """The config declares FP8 quantization, but no weight is stored in FP8.

    Why it hurts: engines build FP8 layers and cast the high-precision weights into them without a scale, or stop
    because scales are missing.

    Example: a model was dequantized and saved again, and ``quantization_config`` stayed. Or the exporter was told not
    to compress: BF16 weights beside their scales.

    Fix: remove the quantization_config, or export again.
    """
    checkpoint = context.checkpoint
    # A config may be about the KV cache alone: then it calls no module quantized.
    if checkpoint is not None and nothing_is_quantized(context) and checkpoint.declared_only:
        scales = sum(tensor.module in checkpoint.unquantized for tensor in checkpoint.orphans)
        modules = f"{len(checkpoint.unquantized)} linear modules in high precision"
        words = [
            *(["beside-scales"] if scales else []),
            *(["dynamic-inputs"] if _by_tensor_and_dynamic(context) else []),
        ]
        told = "-".join(words)
        # Some engine casts no matrix whose outputs are merged with no other's.
        alone = any(is_split_alone(checkpoint, name) for name in checkpoint.declared_only)
        # Who dequantizes while loading takes as they are what is stored without scales.
        dequantized = said(context, keys_of(context).dequantizes) is True and not scales
        ends = (told, "split-alone" * alone, "dequantized" * dequantized)
        variant = "/".join(word for word in ends if word) or None
        yield Observation(
            "nothing-quantized",
            "the weights were saved uncompressed beside their scales"
            if scales
            else "the config declares FP8 weights and the shards hold none",
            context.section.file,
            expected="at least one F8_E4M3 weight",
            found=f"{modules}, {scales} scales beside them" if scales else modules,
            help="export again with compressed weights (save_compressed=True)" if scales else None,
            only=_builders(context, checkpoint.declared_only),
            variant=variant,
            if_codes=(f"{told}/codes{'/split-alone' * alone}", variant) if scales and variant else None,
            may_be_codes=tuple(checkpoint.unquantized[name] for name in checkpoint.declared_only) if scales else (),
        )


def _by_tensor_and_dynamic(context: Context) -> bool:
    """Whether a plain config asks for weights by tensor and dynamic inputs: some engine has no such scheme."""
    keys = keys_of(context)
    return said(context, keys.inputs) == "dynamic" and not said(context, keys.blocks)


def _builders(context: Context, modules: Iterable[str]) -> frozenset[str] | None:
    """The engines that build some of these modules quantized; None where no engine's reading is known."""
    found = [engines_that_build(context, module, quantized=True) for module in modules]
    known = [engines for engines in found if engines is not None]
    return frozenset[str]().union(*known) if known else None
