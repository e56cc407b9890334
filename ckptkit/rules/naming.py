"""CK2xx: names of scales and what they belong to."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.context import Context
from ckptkit.rules.finding import Severity
from ckptkit.rules.registry import OnConversion, rule


@rule("CK201", "weight-scale-missing", Severity.ERROR)
def weight_scale_missing(context: Context) -> Iterator[Fault]:
    """A quantized weight has no scale.

    vLLM does not notice: the scale keeps the value it was allocated with (-3.4e38), and the layer computes
    garbage. If only the last part of a fused layer lacks its scale, the result is even plausible.

    Mend: export again; a scale cannot be made up.
    """
    for module in context.checkpoint.modules.values() if context.checkpoint else ():
        if module.weight_scale is None:
            yield Fault(
                "weight-scale-missing",
                "the weight is FP8 but no scale is stored for it",
                module.weight.shard,
                module.weight.name,
                expected=names.join(module.name, "weight_scale"),
                found="nothing",
                help="export the checkpoint again; the scale cannot be recovered",
            )


@rule("CK202", "orphan-scale", Severity.ERROR)
def orphan_scale(context: Context) -> Iterator[Fault]:
    """A scale is stored for a weight that is absent or not quantized.

    vLLM stops with "There is no module or parameter named ...".

    Mend: drop the scale, or restore the weight that it belongs to.
    """
    for tensor in context.checkpoint.orphans if context.checkpoint else ():
        yield Fault(
            "orphan-scale",
            "the scale belongs to no quantized module",
            tensor.shard,
            tensor.name,
            expected="an FP8 weight beside it",
            found="none that the config declares quantized",
            help="drop the scale, or mend the config if the weight is meant to be quantized",
        )


@rule("CK204", "legacy-scale-name", Severity.ERROR, conversion=OnConversion.MENDED)
def legacy_scale_name(context: Context) -> Iterator[Fault]:
    """A scale is stored under a name of an older exporter or of a raw dump.

    ``*_quantizer.scale`` and ``weight_scale_inv`` in a Quark checkpoint hold the right numbers, but vLLM knows
    no parameter of that name.

    Mend: rename it; a conversion does.
    """
    if context.checkpoint is None or context.checkpoint.format != "quark":
        return
    for module in context.checkpoint.modules.values():
        for tensor, wanted in ((module.weight_scale, "weight_scale"), (module.input_scale, "input_scale")):
            if tensor is not None and tensor.name != names.join(module.name, wanted):
                yield Fault(
                    "legacy-scale-name",
                    "engines know this scale under another name",
                    tensor.shard,
                    tensor.name,
                    expected=names.join(module.name, wanted),
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                )


@rule("CK208", "foreign-quantizer-tensor", Severity.ERROR)
def foreign_quantizer_tensor(context: Context) -> Iterator[Fault]:
    """A quantizer's internal tensor, or another format's scale, is stored in the checkpoint.

    ``_amax``, zero points, ``activation_scale`` and the like have no place in this format; engines refuse the
    name, or drop the tensor and with it the number that mattered.

    Mend: export again, or rename the tensor to what the format calls it.
    """
    for tensor in context.checkpoint.foreign if context.checkpoint else ():
        yield Fault(
            "foreign-quantizer-tensor",
            f"{context.checkpoint.format if context.checkpoint else 'the format'} has no use for this tensor",
            tensor.shard,
            tensor.name,
            help="export the checkpoint again without it, or rename it",
        )
