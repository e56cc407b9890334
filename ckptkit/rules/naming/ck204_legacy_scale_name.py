"""CK204 legacy-scale-name, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import OnConversion, fix, rule
from ckptkit.edits.changes import Edit, Rename
from ckptkit.engines.architectures import BARE_SCALES
from ckptkit.errors import Fault
from ckptkit.formats.dialect import Dialect, ScaleNames
from ckptkit.model import names
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.storage.payload import TensorRef

#: What the files of few architectures call every scale.
_BARE = "scale"


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
    if dialect is None:
        return
    architecture = context.dimensions.architecture
    bare = () if architecture is None or architecture.startswith(BARE_SCALES) else (_BARE,)
    older = bool(dialect.weight_scale.older or dialect.input_scale.older)
    if not (bare or older):
        return
    for module in context.modules:
        for tensor, known in _scales(module, dialect):
            wanted = known.written
            name = tensor.name.removeprefix(module.name).removeprefix(".") if tensor is not None else ""
            if tensor is not None and (name in bare or (older and name not in known.loaded)):
                yield Observation(
                    "legacy-scale-name",
                    "engines know this scale under another name",
                    tensor.shard,
                    tensor.name,
                    expected=names.join(module.name, wanted),
                    found=tensor.name,
                    help="convert the checkpoint to rename it",
                    variant=_variant(module.name, name),
                )


def _variant(module: str, name: str) -> str | None:
    """What engines tell apart: the inverse, and a bare name, by whether the module has its trained name too."""
    if name.endswith("_inv"):
        return "inverse"
    return f"bare{'/raw' * (names.last_part(module) in names.RAW_GATED)}" if name == _BARE else None


def _scales(module: QuantizedModule, dialect: Dialect) -> tuple[tuple[TensorRef | None, ScaleNames], ...]:
    """The scales of a module, each with the names that it may have."""
    return (module.weight_scale, dialect.weight_scale), (module.input_scale, dialect.input_scale)


@fix("safe", "CK204")
def rename_older_scale(context: Context, finding: Finding) -> Iterator[Edit]:
    """Give the scale the name that engines know."""
    subject = finding.subject
    if context.checkpoint is None or context.dialect is None or not isinstance(subject, StoredTensor):
        return
    parent = names.parent(subject.name)
    for owner in (parent, names.parent(parent)):  # older names have one part more
        module = context.checkpoint.modules.get(owner)
        for tensor, known in _scales(module, context.dialect) if module is not None else ():
            if tensor is not None and tensor.name == subject.name:
                yield Rename(tensor.shard, tensor.name, names.join(owner, known.written))
