"""CK204 legacy-scale-name, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.rules.naming.scale_names import rename_scale


@rule(
    "CK204",
    "legacy-scale-name",
    Severity.ERROR,
    conversion=OnConversion.FIXED,
    reports=(
        "vllm-project/vllm#5353",
        "vllm-project/vllm#41982",
        "amd/Quark#44",
        "wuwangzhang1216/abliterix#93",
        "leejet/stable-diffusion.cpp#1898",
    ),
)
def legacy_scale_name(context: Context) -> Iterator[Fault]:
    """A scale is stored under a name of an older exporter or of a raw dump.

    Why it hurts: ``*_quantizer.scale`` and ``weight_scale_inv`` in a Quark checkpoint hold the right numbers, but
    vLLM knows no parameter of that name, and tools that skip unknown names leave the weights unscaled.

    Example: ``model.layers.0.mlp.up_proj.weight_quantizer.scale`` as early Quark exports wrote it.

    Fix: rename it; a conversion does.
    """
    dialect = context.dialect
    if dialect is None or not (dialect.weight_scale.older or dialect.input_scale.older):
        return
    for module in context.modules:
        for tensor, known in ((module.weight_scale, dialect.weight_scale), (module.input_scale, dialect.input_scale)):
            wanted = known.written
            if tensor is not None and tensor.name not in [names.join(module.name, name) for name in known.loaded]:
                yield Fault(
                    "legacy-scale-name",
                    "engines know this scale under another name",
                    tensor.shard,
                    tensor.name,
                    expected=names.join(module.name, wanted),
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                )


fix("safe", "CK204")(rename_scale)
