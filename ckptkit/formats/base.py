"""What a format is: a reader into the canonical model, a writer out of it, and what it can express.

A format never knows another format. It never opens files either: its reader gets a container (parsed headers
and JSON) and its writer returns a draft (the tensors to be written, the config beside them, and what it means to
change). Everything between the two - losses, plans, byte movement - is common to all formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ckptkit.errors import Fault, FormatError
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity
from ckptkit.model.scheme import KVCacheScheme, Scheme
from ckptkit.storage.container import Container
from ckptkit.storage.output import Drop, OutputTensor

#: Module -> the scheme that the result gives it; None where it is no longer quantized. Modules that keep theirs are
#: not listed.
SchemeChanges: TypeAlias = Mapping[str, "Scheme | None"]


@dataclass(frozen=True)
class Changes:
    """What a draft means to change of what a checkpoint means; nothing, for a conversion that loses nothing.

    The result is read back and compared with this, so that a change that is not declared is a refusal.
    ``lossy`` names the operations that may round values; ``kv_scheme`` holds the scheme of the result's KV cache, alone
    in a tuple since None is one; ``attention`` maps a module to the roles of the scales that it then has.
    """

    schemes: SchemeChanges = field(default_factory=dict)
    lossy: frozenset[str] = frozenset()
    kv_scheme: tuple[KVCacheScheme | None] | None = None
    attention: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: What these changes do, in words, one sentence each.
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A writer's answer: every tensor to be written, the config, other files, and what it means to change.

    ``drops`` are stored tensors that the target does not store. ``quantization_config`` is None for a checkpoint that
    is no longer quantized. ``side_files`` holds the contents of files that belong to the format, by name, and None for
    a file of the source that must not come along.
    """

    tensors: tuple[OutputTensor, ...]
    drops: tuple[Drop, ...]
    quantization_config: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()
    side_files: Mapping[str, bytes | None] = field(default_factory=dict)
    changes: Changes = Changes()


@dataclass(frozen=True)
class Capabilities:
    """What a format can express so that its serving engines read it right.

    ``schemes`` pairs the kind of weight granularity with the kind of input: "none", "static per-tensor",
    "dynamic per-token", and so on. ``block_sizes`` is None when any is fine. With ``groups_match_blocks``, inputs
    of blocks must be in groups of as many elements as a block has columns.
    """

    schemes: frozenset[tuple[str, str]]
    kv_roles: frozenset[str]
    kv_granularities: frozenset[str]
    mixed_schemes: bool
    quantized_lm_head: bool
    block_sizes: frozenset[tuple[int, int]] | None
    scale_dtypes: frozenset[str]
    output_quantization: bool = False
    groups_match_blocks: bool = False


@dataclass(frozen=True)
class WriteOptions:
    """Choices that a user makes about the target.

    ``mode`` is a dialect of the format, or None for its default. With ``allow_lossy`` a writer may round values.
    """

    mode: str | None = None
    allow_lossy: bool = False


@dataclass(frozen=True)
class Detection:
    """That a container is in a format, in which dialect, and by what it was known."""

    format: str
    dialect: str
    evidence: str


@runtime_checkable
class Format(Protocol):
    """The contract of a format. Third parties register one under the entry point group ``ckptkit.formats``."""

    @property
    def name(self) -> str:
        """The full name, as configs spell it: ``compressed-tensors``."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Short names that the command line accepts."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The dialects that the writer can produce, the default first."""

    def detect(self, container: Container) -> Detection | None:
        """Say whether this is ours, from config keys alone."""

    def read(self, container: Container) -> Checkpoint:
        """Make the canonical model. Raises FormatError when the config cannot be understood."""

    def capabilities(self, options: WriteOptions) -> Capabilities:
        """What the writer can express with these options."""

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        """Say what each tensor becomes. Called only when nothing would be lost."""

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The stored shapes of a scale that loaders accept, the one that exporters write first."""


@dataclass
class ConfigReader:
    """Reads JSON config values strictly, collecting a fault for each value of the wrong kind."""

    file: str = "config.json"
    faults: list[Fault] = field(default_factory=list)

    def mapping(self, value: Any, path: str, *, required: bool = False) -> dict[str, Any]:
        """An object; null or absent reads as empty unless required."""
        if isinstance(value, dict):
            return value
        if value is not None or required:
            self.wrong(path, "an object", value)
        return {}

    def strings(self, value: Any, path: str) -> list[str]:
        """A list of strings; null reads as empty."""
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.wrong(path, "a list of strings", value)
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

    def wrong(self, path: str, expected: str, value: Any, help: str | None = None) -> None:
        """Note a value that is not what the format allows."""
        found = "nothing" if value is None else repr(value)[:80]
        self.faults.append(Fault("config-value", f"{path} is not valid", self.file, None, expected, found, help))

    def raise_faults(self, label: str) -> None:
        """Raise FormatError with everything that was noted."""
        if self.faults:
            raise FormatError(f"{label}: the quantization config cannot be understood", faults=self.faults)
