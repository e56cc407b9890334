"""One request for a conversion: what a user asks for, in words, and what the planner makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from ckptkit.checks.settings import Checker, checked, words
from ckptkit.conversion.placement import shard_bytes
from ckptkit.errors import UsageError
from ckptkit.formats import registry
from ckptkit.formats.base import Format, WriteOptions, writable
from ckptkit.formats.dialect import Capabilities, Dialect
from ckptkit.formats.preset import Preset, preset
from ckptkit.formats.reading import open_checkpoint
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.record import record
from ckptkit.storage.locate import PathLike, open_files

if TYPE_CHECKING:  # typing has it from Python 3.11 on
    from typing_extensions import Unpack


class Choices(TypedDict, total=False):
    """What may be asked of a conversion besides its target: keywords in Python, options of the command."""

    mode: str | None
    expect: str | None
    allow_lossy: bool
    modules: str | Iterable[str] | None
    scheme: str | None
    skip: str | Iterable[str] | None
    default_skips: bool
    max_shard_size: int | str | None
    mx_to_fp8: bool
    experts: str | None
    fused: str | None
    granularity: str | None
    scale_dtype: str | None
    drop_kv_scales: bool
    scales_from: PathLike | Checkpoint | None


@record(kw_only=True)
class ConversionRequest(WriteOptions):
    """The choices about a conversion, checked: those that a writer sees, and those that are taken before it writes.

    ``target`` is the format to write, ``expect`` the name of the only one that the source may have.

    ``modules`` are glob patterns of the modules that a change of values is for, empty for all of them.

    ``scheme`` names a preset of the target by which plain weights are quantized, and FP8 ones requantized. ``skip`` are
    glob patterns of modules that stay as they are, besides those that every tool leaves alone; without
    ``default_skips`` these are quantized too.

    ``max_shard_size`` is the most bytes of tensors in a shard of the result; None keeps the source's shards.
    With ``mx_to_fp8``, MXFP4 and MXFP8 modules become FP8 for a target too that would carry them as they are.
    ``experts`` says what becomes of experts: "split" for a module each, "stack" for one of a layer; ``fused`` likewise
    of qkv and gate_up: "split" or "fuse". None leaves them as they are.
    ``granularity`` ("channel", "block") writes the one scale of a weight for each of these, ``scale_dtype`` is the type
    of weight scales. ``scales`` is a checkpoint of the same model whose scales of inputs and of the KV cache are taken
    where there are none; with ``drop_kv_scales`` the latter go.
    """

    target: Format
    expect: str | None = None
    modules: tuple[str, ...] = ()
    scheme: str | None = None
    skip: tuple[str, ...] = ()
    default_skips: bool = True
    max_shard_size: int | None = None
    mx_to_fp8: bool = False
    experts: str | None = None
    fused: str | None = None
    granularity: str | None = None
    scale_dtype: str | None = None
    drop_kv_scales: bool = False
    scales: Checkpoint | None = None

    @classmethod
    def of(cls, to: str, **choices: Unpack[Choices]) -> ConversionRequest:
        """The choices as callers give them. Raises UsageError for what makes no sense; what is None is not asked for.

        Of ``scales_from`` the headers are read; raises as :func:`ckptkit.open` does.
        """
        given: dict[str, Any] = {name: value for name, value in choices.items() if value is not None}
        read = {name: given.pop(name) for name in _READ if name in given}
        request = cls(target=registry.by_name(to), **given, **checked(read, "", _READ))
        _ = request.dialects  # there is one of this mode
        return request

    @property
    def dialects(self) -> tuple[tuple[Dialect, Capabilities], ...]:
        """The dialects of the target that are asked for, each with what it can express. Raises UsageError for none."""
        return writable(self.target, self.mode)

    @property
    def preset(self) -> Preset | None:
        """The preset of the target that is named; without a name its usual one. Raises UsageError if there is none."""
        return preset(self.target.presets, self.scheme, self.target.name)

    @property
    def only_arranges(self) -> bool:
        """Whether something is asked for that a plain checkpoint can have too: other shards, cuts, joints."""
        return self.max_shard_size is not None or self.experts is not None or self.fused is not None


def _one_of(known: tuple[str, ...], name: str, value: str) -> str:
    if value not in known:
        raise UsageError(f"{value!r} is no choice for {name}", help=f"choices: {', '.join(known)}")
    return value


def _scale_dtype(value: str) -> str:
    """The type of scales of a name, or of one that it goes by elsewhere."""
    word = value.upper()
    return _one_of(("F32", "BF16", "F16", "F8_E8M0"), "scale_dtype", _ALIASES.get(word, word))


def _opened(path: PathLike | Checkpoint) -> Checkpoint:
    if isinstance(path, Checkpoint):
        return path
    container = open_files(path)
    container.raise_if_damaged()
    return open_checkpoint(container).checkpoint


_ALIASES = {"E8M0": "F8_E8M0", "UE8M0": "F8_E8M0"}
#: Choices that are read before they stand in a request: their field there, and what reads them.
_READ: Mapping[str, tuple[str, Checker]] = {
    "expect": ("expect", lambda name: registry.by_name(name).name),
    "modules": ("modules", words),
    "skip": ("skip", words),
    "max_shard_size": ("max_shard_size", shard_bytes),
    "experts": ("experts", partial(_one_of, ("split", "stack"), "experts")),
    "fused": ("fused", partial(_one_of, ("split", "fuse"), "fused")),
    "granularity": ("granularity", partial(_one_of, ("channel", "block"), "granularity")),
    "scale_dtype": ("scale_dtype", _scale_dtype),
    "scales_from": ("scales", _opened),
}
