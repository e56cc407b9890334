"""What a format is: a reader into the canonical model, a writer out of it, and what it can express.

A format never knows another format. It never opens files either: its reader gets a container (parsed headers
and JSON) and its writer returns a draft (what each stored tensor becomes, and the config beside it). Everything
between the two - losses, plans, byte movement - is common to all formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from ckptkit.errors import Fault, FormatError
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity
from ckptkit.storage.container import Container
from ckptkit.storage.payload import TensorRef


class Operation(str, Enum):
    """What happens to one stored tensor."""

    KEEP = "keep"
    RENAME = "rename"
    RESHAPE = "reshape"
    DUPLICATE = "duplicate"
    DROP = "drop"
    CAST = "cast"


@dataclass(frozen=True)
class TensorEdit:
    """One output tensor made from one source tensor; the operations follow from the differences.

    ``dtype`` differs from the source's only for an exact cast of a scale. ``duplicate`` marks a second tensor
    made from the same source.
    """

    source: TensorRef
    name: str
    shape: tuple[int, ...]
    dtype: str
    reason: str = ""
    duplicate: bool = False

    @classmethod
    def keep(cls, tensor: TensorRef) -> TensorEdit:
        """The tensor as it is."""
        return cls(tensor, tensor.name, tensor.shape, tensor.dtype)

    @property
    def operations(self) -> tuple[Operation, ...]:
        found = []
        if self.duplicate:
            found.append(Operation.DUPLICATE)
        if self.name != self.source.name:
            found.append(Operation.RENAME)
        if self.shape != self.source.shape:
            found.append(Operation.RESHAPE)
        if self.dtype != self.source.dtype:
            found.append(Operation.CAST)
        return tuple(found) or (Operation.KEEP,)


@dataclass(frozen=True)
class TensorDrop:
    """A source tensor that the target does not store, and why no number is lost by it."""

    source: TensorRef
    reason: str


@dataclass(frozen=True)
class Draft:
    """A writer's answer: what each tensor becomes, the target's quantization config, and what changes."""

    edits: tuple[TensorEdit, ...]
    drops: tuple[TensorDrop, ...]
    quantization_config: Mapping[str, Any]
    notes: tuple[str, ...] = ()


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
    """Choices that a user makes about the target. ``mode`` is a dialect of the format, or None for its default."""

    mode: str | None = None


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

    def wrong(self, path: str, expected: str, value: Any, help: str | None = None) -> None:
        """Note a value that is not what the format allows."""
        found = "nothing" if value is None else repr(value)[:80]
        self.faults.append(Fault("config-value", f"{path} is not valid", self.file, None, expected, found, help))

    def raise_faults(self, label: str) -> None:
        """Raise FormatError with everything that was noted."""
        if self.faults:
            raise FormatError(f"{label}: the quantization config cannot be understood", faults=self.faults)
