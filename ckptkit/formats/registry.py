"""The formats that exist: ours, in one explicit tuple, third parties' through entry points, and those only known of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from ckptkit.errors import UsageError, did_you_mean
from ckptkit.formats.base import Family, Format
from ckptkit.formats.compressed_tensors import CompressedTensors
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.fbgemm import Fbgemm
from ckptkit.formats.fp8 import PlainFp8
from ckptkit.formats.modelopt import ModelOpt
from ckptkit.formats.mxfp4 import Mxfp4
from ckptkit.formats.mxfp8 import Mxfp8
from ckptkit.formats.plain import PLAIN as PLAIN
from ckptkit.formats.quark import Quark
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.plugins import FORMATS, plugins, refused
from ckptkit.storage.container import Container

BUILT_IN: tuple[Format, ...] = (
    CompressedTensors(),
    Quark(),
    PlainFp8(),
    ModelOpt(),
    Fbgemm(),
    Mxfp8(),
    Mxfp4(),
    *PLAIN,
)

#: Ways to store FP8 checkpoints for which there are facts and no reader.
WITHOUT_READER: tuple[Family, ...] = ()


@lru_cache(maxsize=1)
def formats() -> tuple[Format, ...]:
    """Every registered format: the built-in ones first, then third parties'."""
    return (*BUILT_IN, *_third_party())


def _third_party() -> tuple[Format, ...]:
    """What the entry points name, each called without arguments. Raises UsageError with the package to blame."""
    taken = {name for built_in in BUILT_IN for name in (built_in.name, *built_in.aliases)}
    found = []
    for plugin in plugins(FORMATS):
        try:
            candidate = plugin.value()
        except Exception as error:
            message = f"{plugin.origin} cannot be loaded: {type(error).__name__}: {error}"
            raise refused(message, plugin.package) from error
        if not isinstance(candidate, Format):
            raise refused(f"{plugin.origin} is not a ckptkit format", plugin.package)
        own = {candidate.name, *candidate.aliases}
        if own & taken:
            clash = ", ".join(sorted(own & taken))
            raise refused(f"{plugin.origin} takes a name that is in use: {clash}", plugin.package)
        taken |= own
        found.append(candidate)
    return tuple(found)


def _candidates() -> Iterator[Format]:
    """Every format; third parties' only when no built-in one has answered, since looking for them takes 20 ms."""
    yield from BUILT_IN
    yield from formats()[len(BUILT_IN) :]


def by_name(name: str) -> Format:
    """The format of this name or alias. Raises UsageError with the names that exist."""
    wanted = name.lower().replace("_", "-")
    for candidate in _candidates():
        if wanted in (candidate.name, *candidate.aliases):
            return candidate
    known = ", ".join("/".join((f.name, *f.aliases)) for f in formats())
    words = [word for f in formats() for word in (f.name, *f.aliases)]
    raise UsageError(f"unknown format {name!r}", help=did_you_mean(wanted, words, f"known formats: {known}"))


def plain_checkpoint(container: Container) -> Checkpoint:
    """A container without a quantization, read as such: by the type that most of its bytes have."""
    nbytes: dict[str, int] = {}
    for tensor in container.tensors.values():
        nbytes[tensor.dtype] = nbytes.get(tensor.dtype, 0) + tensor.nbytes
    return max(PLAIN, key=lambda form: nbytes.get(form.weight_dtype or "", 0)).read(container)


def detect(container: Container) -> tuple[Format, Dialect] | None:
    """The format of a container and its dialect; None when no reader claims it."""
    for candidate in _candidates():
        dialect = candidate.dialect_of(container)
        if dialect is not None:
            return candidate, dialect
    return None


def family_of(container: Container) -> tuple[Family, Dialect] | None:
    """What a container is of that no reader claims, and its dialect; None when nothing is known of it."""
    for known in WITHOUT_READER:
        dialect = known.dialect_of(container)
        if dialect is not None:
            return known, dialect
    return None


def families(dialect: Dialect | None = None) -> tuple[Family, ...]:
    """Everything built in that facts are known of, and the format of ``dialect`` if it is a third party's."""
    known: tuple[Family, ...] = (*BUILT_IN, *WITHOUT_READER)
    if dialect is None or any(dialect.format == family.name for family in known):
        return known
    return (*known, by_name(dialect.format))


def dialects() -> tuple[Dialect, ...]:
    """Every dialect: the built-in ones, with a reader or without, then those of other packages."""
    return tuple(dialect for family in (*families(), *formats()[len(BUILT_IN) :]) for dialect in family.dialects)


def skip_keys(dialect: Dialect | None = None) -> tuple[str, ...]:
    """Every key under which some dialect lists modules to be left alone, those of ``dialect`` among them."""
    lists = [known.skip_list for family in families(dialect) for known in family.dialects]
    return tuple(dict.fromkeys(key for skip_list in lists for key in skip_list.keys))
