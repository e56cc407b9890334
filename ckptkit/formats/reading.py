"""What came of reading a container: one of five answers, and everything that asks for a checkpoint asks for these.

"There is no reader for this" and "this config is broken" are different things: of the first nothing more is said than
what it is, the second is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import TypeAlias

from ckptkit.errors import Fault, FormatError, UnsupportedFormat, excerpt
from ckptkit.formats import config_block, registry, undeclared
from ckptkit.formats.base import Format
from ckptkit.formats.dialect import Dialect
from ckptkit.formats.recognise import Recognised, recognise
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.record import record
from ckptkit.storage.container import CONFIG_FILE, Container

#: Faults under which it is not known which tensors the checkpoint has.
_NAMES_UNKNOWN = frozenset(
    {
        "shard-missing",
        "lfs-pointer",
        "page-for-shard",
        "file-empty",
        "file-unreadable",
        "header-too-large",
        "header-truncated",
    }
)


@record
class Readable:
    """The checkpoint was understood; what reading met on the way is among its faults."""

    checkpoint: Checkpoint
    format: Format
    dialect: Dialect


@record
class NotRead:
    """Why there is no checkpoint: in a sentence, in faults where something is wrong, and what to do next."""

    message: str
    faults: tuple[Fault, ...] = ()
    help: str | None = None

    def error(self, label: str) -> FormatError:
        """The same as an error about the checkpoint of this label."""
        return FormatError(f"{label}: {self.message}", faults=self.faults, help=self.help)


@record
class NoReader(NotRead):
    """A quantization that ckptkit does not read, and that may well be sound.

    ``words`` say what it is as far as that is known, ``method`` is the normalised ``quant_method``, empty where none is
    given; ``dialect`` is set where facts about it are known although there is no reader. ``recognised`` is what else is
    known of it.
    """

    words: str = ""
    method: str = ""
    dialect: Dialect | None = None
    recognised: Recognised = field(default_factory=Recognised)

    def error(self, label: str) -> FormatError:
        """The same as an error about the checkpoint of this label."""
        return UnsupportedFormat(f"{label}: {self.message}", faults=self.faults, help=self.help)


@record
class BrokenConfig(NotRead):
    """The config is one of a format that ckptkit reads, and cannot be understood.

    ``rest`` is the checkpoint as it reads without the values that are at fault, where it is known what it means then:
    it is judged, and never converted.
    """

    format: Format | None = None
    dialect: Dialect | None = None
    rest: Checkpoint | None = None


@record
class Unquantized(NotRead):
    """No quantization is declared; a fault says so where tensors are stored in FP8 all the same."""

    recognised: Recognised = field(default_factory=Recognised)


@record
class FilesUnknown(NotRead):
    """A shard is missing or its names are not known, so that nothing can be said about modules."""


ReadOutcome: TypeAlias = Readable | NoReader | BrokenConfig | Unquantized | FilesUnknown


def read(container: Container) -> ReadOutcome:
    """Read a container as far as its config allows. Raises nothing that is about the checkpoint."""
    lost = tuple(fault for fault in container.faults if fault.kind in _NAMES_UNKNOWN)
    if lost:
        return FilesUnknown("it is not known which tensors the checkpoint has", lost)
    found = registry.detect(container)
    if found is None:
        return _broken(container) or _unread(container)
    form, dialect = found
    try:
        return Readable(form.read(container), form, dialect)
    except UnsupportedFormat as error:
        message = error.message.removeprefix(f"{container.label}: ")
        words = message.removesuffix(" is not supported")
        return NoReader(message, error.faults, error.help, words, _method(container), dialect, recognise(container))
    except FormatError as error:
        message = error.message.removeprefix(f"{container.label}: ")
        return BrokenConfig(message, error.faults, error.help, form, dialect, _rest(container, form, error.faults))


def _rest(container: Container, form: Format, faults: Sequence[Fault]) -> Checkpoint | None:
    """What is left of a checkpoint without the values of its config that are at fault."""
    block = form.spared(container, faults)
    if block is None:
        return None
    try:
        return form.read(replace(container, config=config_block.replaced(container.config, block)))
    except FormatError:
        return None


def readable(container: Container, outcome: ReadOutcome) -> Readable:
    """The outcome of reading a container, if there is a checkpoint; else raises FormatError with what prevents it."""
    if isinstance(outcome, NotRead):
        raise outcome.error(container.label)
    return outcome


def open_checkpoint(container: Container) -> Readable:
    """Read a container, or raise FormatError with what stands in the way."""
    return readable(container, read(container))


def open_quantized_or_not(container: Container) -> Checkpoint:
    """Read a container, or take it as it is where nothing is quantized; else raises FormatError as reading does."""
    outcome = read(container)
    if isinstance(outcome, Unquantized) and not outcome.faults:
        return registry.plain_checkpoint(container)
    return readable(container, outcome).checkpoint


def config_faults(container: Container, outcome: ReadOutcome) -> Iterator[Fault]:
    """What formats find wrong with a config beyond reading it: theirs, and side files of theirs beside another's."""
    dialect = None if isinstance(outcome, (Unquantized, FilesUnknown)) else outcome.dialect
    checkpoint = outcome.checkpoint if isinstance(outcome, Readable) else None
    beside = {entry.name for entry in container.side_files}
    for family in registry.families(dialect):
        own = dialect is not None and family.name == dialect.format
        if own or any(beside.intersection(known.side_files) for known in family.dialects):
            yield from family.config_faults(container, dialect, checkpoint)


def _method(container: Container) -> str:
    located = config_block.locate(container.config)
    return "" if located is None else config_block.quant_method(located.block)


def _written(container: Container) -> str:
    """The method as the config spells it."""
    located = config_block.locate(container.config)
    return excerpt(located.block.get("quant_method") if located is not None else None)


def _broken(container: Container) -> BrokenConfig | None:
    """A config that is no object, and so nobody's; None where there is none."""
    misplaced = config_block.misplaced(container.config)
    if misplaced is None:
        return None
    path, value = misplaced
    fault = Fault("config-value", f"{path} is not valid", CONFIG_FILE, None, "an object", excerpt(value))
    return BrokenConfig("the quantization config cannot be understood", (fault,))


def _unread(container: Container) -> NoReader | Unquantized:
    """What a container is that no reader claims."""
    family, method, found = registry.family_of(container), _method(container), recognise(container)
    declared = config_block.locate(container.config) is not None
    if family is None and not declared and found.quantization is None:
        return _unquantized(container, found)
    dialect = None
    if family is not None:
        words, dialect = family[0].describe(container), family[1]
    elif not declared:
        words = found.quantization or ""
    elif found.method is None:
        words = f"quant_method {_written(container)}" if method else "a quantization config without quant_method"
    else:
        said = found.quantization or ""
        said = said if found.method.may_be_fp8 else f"{said}, which is not FP8"
        words = f"quant_method {_written(container)} ({said})" if method else said
    known = ", ".join(form.name for form in registry.formats() if form.is_read)
    message = f"{words} is not supported" if declared or family is not None else f"not supported: {words}"
    return NoReader(message, (), f"supported: {known}", words, method, dialect, found)


def _unquantized(container: Container, found: Recognised) -> Unquantized:
    message = "not a quantized checkpoint"
    faults = tuple(undeclared.faults(container))
    if faults:
        return Unquantized(message, faults, faults[0].help, found)
    what = found.what or "unquantized checkpoint"
    article = "an" if what[0].lower() in "aeiou" else "a"
    help_text = f"this looks like {article} {what}: there is nothing for ckptkit to convert or check"
    return Unquantized(message, (), help_text, found)


def located_in(outcome: ReadOutcome, container: Container) -> config_block.Located | None:
    """The quantization config of a container: that of config.json, or of a file that its format has beside it."""
    family = outcome.format if isinstance(outcome, (Readable, BrokenConfig)) else None
    return family.located(container) if family is not None else config_block.locate(container.config)


def sections_in(outcome: ReadOutcome, container: Container) -> tuple[config_block.Section, ...]:
    """Every place where readers of a container's format look for what its config says, the one that counts first; where
    no format is known, the config itself."""
    dialect = None if isinstance(outcome, (Unquantized, FilesUnknown)) else outcome.dialect
    if isinstance(outcome, (Readable, BrokenConfig)) and outcome.format is not None and dialect is not None:
        return outcome.format.sections(container, dialect)
    located = config_block.locate(container.config)
    if located is None:
        return ()
    # Where nothing is known of the format, there is still a key to speak of.
    lists = registry.skip_keys()[:1] if dialect is None else dialect.skip_list.present(located.block)
    keys = config_block.NO_KEYS if dialect is None else dialect.keys
    return (config_block.Section(located.block, located.way, located.file, keys, lists),)
