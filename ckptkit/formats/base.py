"""What a format is: a reader into the canonical model, a writer out of it, and what it can express.

A format never knows another format. It never opens files either: its reader gets a container (parsed headers
and JSON) and its writer returns a draft (the tensors to be written, the config beside them, and what it means to
change). Everything between the two - losses, plans, byte movement - is common to all formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ckptkit.edits.changes import ConfigEdit, Path
from ckptkit.errors import Fault, FormatError, UsageError, did_you_mean
from ckptkit.formats import config_block
from ckptkit.formats.dialect import Capabilities, Dialect
from ckptkit.formats.preset import Preset
from ckptkit.model.checkpoint import Checkpoint, KVCache
from ckptkit.model.granularity import Granularity
from ckptkit.model.scheme import KVCacheScheme, Scheme
from ckptkit.record import record
from ckptkit.storage.container import Container
from ckptkit.storage.output import Drop, OutputTensor

#: Module -> the scheme that the result gives it; None where it is no longer quantized. Modules that keep theirs are
#: not listed.
SchemeChanges: TypeAlias = Mapping[str, "Scheme | None"]


@record
class Changes:
    """What a draft means to change of what a checkpoint means; nothing, for a conversion that loses nothing.

    The result is read back and compared with this, so that a change that is not declared is a refusal.
    ``lossy`` names the operations that may round values, ``rounds`` those whose rounding is what was asked for;
    ``kv_scheme`` holds the scheme of the result's KV cache, alone in a tuple since None is one; ``attention`` maps a
    module to the roles of the scales that it then has. ``gives_up`` says in a sentence each which stored numbers go and
    what becomes coarser; it makes a plan a lossy one.
    """

    schemes: SchemeChanges = field(default_factory=dict)
    lossy: frozenset[str] = frozenset()
    rounds: frozenset[str] = frozenset()
    kv_scheme: tuple[KVCacheScheme | None] | None = None
    attention: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gives_up: tuple[str, ...] = ()
    #: What these changes do, in words, one sentence each.
    reasons: tuple[str, ...] = ()

    def joined(self, later: Changes) -> Changes:
        """These changes and then others."""
        return Changes(
            schemes={**self.schemes, **later.schemes},
            lossy=self.lossy | later.lossy,
            rounds=self.rounds | later.rounds,
            kv_scheme=self.kv_scheme if later.kv_scheme is None else later.kv_scheme,
            attention={**self.attention, **later.attention},
            gives_up=(*self.gives_up, *later.gives_up),
            reasons=(*self.reasons, *later.reasons),
        )


@record
class Draft:
    """A writer's answer: every tensor to be written, the config, other files, and what it means to change.

    ``drops`` are stored tensors that the target does not store. ``quantization_config`` is None for a checkpoint that
    is no longer quantized. ``side_files`` holds the contents of files that belong to the format, by name, and None for
    a file of the source that must not come along. ``config`` are keys of config.json that get other
    values, its quantization config aside.
    """

    tensors: tuple[OutputTensor, ...]
    drops: tuple[Drop, ...]
    quantization_config: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()
    side_files: Mapping[str, bytes | None] = field(default_factory=dict)
    changes: Changes = Changes()
    config: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def by_operation(self) -> Mapping[str, tuple[OutputTensor, ...]]:
        """The tensors by the operation that makes them: most of what is asked of tensors is asked of operations."""
        found: dict[str, list[OutputTensor]] = {}
        for tensor in self.tensors:
            found.setdefault(tensor.operation, []).append(tensor)
        return {what: tuple(tensors) for what, tensors in found.items()}


@record
class WriteOptions:
    """Choices that a user makes about the target.

    ``mode`` is a dialect of the format; None stands for the first that holds the checkpoint, and for a writer that is
    asked without a plan for its default. With ``allow_lossy`` a writer may round values.
    """

    mode: str | None = None
    allow_lossy: bool = False


#: The kind of the fault for a value that is not what a format allows.
NOT_VALID = "config-value"
#: It, and the kinds that tell apart of what such a value is.
KINDS_NOT_VALID = (NOT_VALID, "kv-value", "kv-elements", "sparsity-value")
#: What is wrong with a config that gives no size of the blocks that are stored.
UNSAID_BLOCKS = "unsaid-blocks"


@record
class ConfigFault(Fault):
    """A fault of a quantization config that its own format found.

    ``path`` is the way to the value below the quantization config, and ``edits`` are the changes that put it right, if
    there are any that need no judgement. ``what`` is a word for what is wrong, under which engines' tables may tell
    what they make of it; ``instead`` holds, alone in a tuple, the value with which it is known what the rest means.
    """

    path: Path = ()
    edits: tuple[ConfigEdit, ...] = ()
    what: str = ""
    instead: tuple[Any, ...] = ()


def read_instead(block: Mapping[str, Any], faults: Iterable[Fault]) -> Mapping[str, Any] | None:
    """A quantization config with other values where some are not valid; None where a fault tells none.

    >>> read_instead({"a": {"b": 1}}, [ConfigFault("config-value", "", path=("a", "b"), instead=(2,))])
    {'a': {'b': 2}}
    """
    for fault in faults:
        if fault.kind in KINDS_NOT_VALID:
            told = isinstance(fault, ConfigFault) and fault.instead
            changed = _with(block, fault.path, fault.instead[0]) if told and isinstance(fault, ConfigFault) else None
            if changed is None:
                return None
            block = changed
    return block


def _with(block: Mapping[str, Any], way: Path, value: Any) -> Mapping[str, Any] | None:
    """A copy with another value at the end of a way; None where the way does not lead through objects."""
    if not way:
        return None
    first, *rest = way
    if not rest:
        return {**block, str(first): value}
    inner = block.get(str(first))
    changed = _with(inner, tuple(rest), value) if isinstance(inner, Mapping) else None
    return None if changed is None else {**block, str(first): changed}


def where_of(fault: Fault) -> str:
    """The value of a quantization config that a fault is about, its keys joined by dots; "" of one that names none."""
    return ".".join(map(str, fault.path)) if isinstance(fault, ConfigFault) else ""


class Family(Protocol):
    """What is known of a way to store quantized checkpoints, whether or not there is a reader for it."""

    @property
    def name(self) -> str:
        """The full name, as configs spell it: ``compressed-tensors``."""

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """Its dialects, the one that is written by default first."""

    def dialect_of(self, container: Container) -> Dialect | None:
        """The dialect of a container, by its config (or a side file); None when it is not ours."""

    def describe(self, container: Container) -> str:
        """What a container that is ours holds, in a few words, as far as its config says."""

    def config_faults(
        self, container: Container, dialect: Dialect | None, checkpoint: Checkpoint | None
    ) -> Iterable[Fault]:
        """What a config of ours says that some reader takes wrongly, beyond what :meth:`Format.read` finds.

        Asked of a container that is ours, and of one that holds a side file of ours beside another format's config:
        ``dialect`` and ``checkpoint`` are what it was read as.
        """
        return ()


@runtime_checkable
class Format(Family, Protocol):
    """The contract of a format. Third parties register one under the entry point group ``ckptkit.formats``.

    A class that names this one as its base inherits what is optional.
    """

    @property
    def aliases(self) -> tuple[str, ...]:
        """Short names that the command line accepts."""

    @property
    def is_read(self) -> bool:
        """Whether there are checkpoints of this format to be read; some formats are only written."""
        return True

    @property
    def weight_dtype(self) -> str | None:
        """The dtype of all weights of a target that is not quantized; None for a quantization."""
        return None

    @property
    def presets(self) -> tuple[Preset, ...]:
        """The ways to quantize plain weights that it has, the usual one first; none by default."""
        return ()

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model.

        Raises UnsupportedFormat when the config is sound and describes nothing that is FP8, and FormatError with every
        fault when it cannot be understood.
        """

    def spared(self, container: Container, faults: Iterable[Fault]) -> Mapping[str, Any] | None:
        """The quantization config without the values that :meth:`read` did not understand, if it is known what the
        checkpoint means without them; None where it is not."""
        return None

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """Say what each tensor becomes. Called only when nothing would be lost."""

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The stored shapes of a scale that loaders accept, the one that exporters write first."""

    def located(self, container: Container) -> config_block.Located | None:
        """The quantization config of a container of ours: that of config.json, or a file beside it where the format
        has one and config.json says nothing."""
        return config_block.locate(container.config)

    def sections(self, container: Container, dialect: Dialect) -> tuple[config_block.Section, ...]:
        """Every place where readers of ours look for a config, the one that counts first; an edit changes all."""
        located = self.located(container)
        if located is None:
            return ()
        keys = dialect.skip_list.present(located.block)
        return (config_block.Section(located.block, located.way, located.file, dialect.keys, keys),)

    def declares(self, checkpoint: Checkpoint) -> Callable[[str], bool]:
        """Whether the config means a module of this name to be quantized, the skip list aside."""
        return lambda module: True

    def config_edits(self, checkpoint: Checkpoint, fault: Fault) -> Iterable[ConfigEdit]:
        """The edits of config.json that put right a fault that the reader found; nothing where somebody must judge."""
        return fault.edits if isinstance(fault, ConfigFault) else ()

    def declare_kv_cache(self, checkpoint: Checkpoint, cache: KVCache | None) -> Iterable[ConfigEdit]:
        """The edits of config.json that declare this KV cache, or none; nothing where it cannot be declared alone."""
        return ()


def modes(form: Format) -> tuple[str, ...]:
    """The dialects that a format can write, as ``--mode`` spells them, the default first."""
    return tuple(dialect.mode for dialect in form.dialects if dialect.mode is not None)


def writable(form: Format, mode: str | None) -> tuple[tuple[Dialect, Capabilities], ...]:
    """The dialects that a mode stands for, every writable one without a mode, each with what it can express.

    Raises UsageError with the modes that exist.
    """
    wanted = None if mode is None else mode.lower()
    found = tuple(
        (dialect, dialect.capabilities)
        for dialect in form.dialects
        if dialect.mode is not None and dialect.capabilities is not None and wanted in (None, dialect.mode)
    )
    if found:
        return found
    known = modes(form)
    if not known:
        raise UsageError(f"{form.name} is only read, not written")
    everything = f"its modes: {', '.join(known)}"
    fault = Fault("unknown-mode", "no such mode", expected=" or ".join(known), found=mode)
    help_text = did_you_mean(mode or "", known, everything)
    raise UsageError(f"{form.name} has no mode {mode!r}", faults=[fault], help=help_text)


def written_dialect(form: Format, mode: str | None) -> tuple[Dialect, Capabilities]:
    """The dialect that a mode stands for, the first without one. Raises UsageError with the modes that exist."""
    return writable(form, mode)[0]


#: The kinds of faults in what declares a KV cache, and in what it is made of.
KV_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "kv_cache_scheme": "kv-value",
        "kv_cache_scheme.type": "kv-elements",
        "kv_cache_scheme.num_bits": "kv-elements",
    }
)


@dataclass
class ConfigReader:
    """Reads JSON config values strictly, collecting a fault for each value of the wrong kind.

    ``kinds`` say of which kind a fault is at a path and below it, where it is not "config-value".
    """

    file: str = "config.json"
    kinds: Mapping[str, str] = field(default_factory=lambda: KV_KINDS)
    faults: list[Fault] = field(default_factory=list)

    def mapping(
        self, value: Any, path: str, *, required: bool = False, missing: str = "", instead: tuple[Any, ...] = ()
    ) -> dict[str, Any]:
        """An object; null or absent reads as empty unless required.

        What is required and not there is ``missing`` to engines' tables, and the rest may be read with another value
        ``instead``.
        """
        if isinstance(value, dict):
            return value
        if value is None and required:
            self.wrong(path, "an object", value, what=missing, instead=instead)
        elif value is not None:
            self.wrong(path, "an object", value)
        return {}

    def strings(self, value: Any, path: str, *, no_list: str = "") -> list[str]:
        """A list of strings; null reads as empty, and what is no list is ``no_list`` to engines' tables."""
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.wrong(path, "a list of strings", value, what="" if isinstance(value, list) else no_list)
        return []

    def skip_list(self, block: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
        """The modules to be left alone: the first list of these keys that is not empty; later ones are not read."""
        for key in keys:
            listed = self.strings(block.get(key), key)
            if listed:
                return listed
        return []

    def truth(self, value: Any, path: str, *, default: bool | None = None) -> bool | None:
        """True or false, and nothing that Python takes for either: "false" is no truth value, and 0 is a number.

        Null reads as the default; without one it is a value like any other that is neither. None where it is noted.
        """
        if isinstance(value, bool):
            return value
        if value is None and default is not None:
            return default
        self.wrong(path, "true or false", value)
        return None

    def text(self, value: Any, path: str) -> str | None:
        """A string; null reads as None."""
        if value is None or isinstance(value, str):
            return value
        self.wrong(path, "a string", value)
        return None

    def wrong(
        self,
        path: str,
        expected: str,
        value: Any,
        help: str | None = None,
        *,
        what: str = "",
        instead: tuple[Any, ...] = (),
    ) -> None:
        """Note a value that is not what the format allows; ``what`` and ``instead`` as in :class:`ConfigFault`."""
        found = "nothing" if value is None else repr(value)[:80]
        way = tuple(path.split("."))
        message = f"{path} is not valid"
        above = (".".join(way[:length]) for length in range(len(way), 0, -1))
        kind = next((self.kinds[place] for place in above if place in self.kinds), NOT_VALID)
        self.faults.append(
            ConfigFault(kind, message, self.file, None, expected, found, help, path=way, what=what, instead=instead)
        )

    def raise_faults(self, label: str, others: Iterable[Fault] = ()) -> None:
        """Raise FormatError with everything that was noted, and other faults beside it."""
        if self.faults:
            message = f"{label}: the quantization config cannot be understood"
            raise FormatError(message, faults=(*self.faults, *others))
