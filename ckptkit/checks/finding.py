"""Findings: what a rule reports, as data. Renderers live elsewhere."""

from __future__ import annotations

from dataclasses import field, fields
from enum import Enum
from typing import Any, TypeAlias

from ckptkit.engines import registry
from ckptkit.engines.base import Effect
from ckptkit.errors import Fault
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.payload import TensorRef


class Severity(str, Enum):
    """How much a finding matters.

    ``error``: an engine refuses the checkpoint or its numbers are certainly wrong. ``warning``: some engine is
    silently wrong or fails in some setting. ``info``: worth knowing, nothing breaks.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@record
class StoredTensor:
    """A stored tensor by name, in the shard that was looked at, with the name that it should have where another is."""

    name: str
    shard: str | None = None
    wanted: str | None = None


@record
class Module:
    """A module, or what engines build from several: its name without a parameter's."""

    name: str


@record
class ListEntry:
    """An entry of a list of the quantization config, as it is written there."""

    value: str


@record
class File:
    """A file, relative to the checkpoint folder."""

    name: str


#: What a finding is about, as data: the texts of a finding are for people, and no fix reads them.
Subject: TypeAlias = StoredTensor | Module | ListEntry | File


@record
class Observation(Fault):
    """A fault of which a rule knows more than its texts say.

    ``variant`` is a word under which engines' tables may tell other consequences; ``apart`` holds another such word and
    the engines for which that one counts. ``only`` names the engines that can suffer, where the rule has asked them;
    ``severity`` replaces the rule's. ``subject`` is what a fix has to know if it is more than the tensor or the file.
    ``if_ones`` is the variant where the tensor, a scale that belongs to no module, holds nothing but ones: whoever
    reads scales finds out. ``if_codes`` are the variants where weights that ``may_be_codes`` hold codes, and where they
    hold a model's own numbers.
    """

    variant: str | None = None
    only: frozenset[str] | None = None
    severity: Severity | None = None
    subject: Subject | None = None
    apart: tuple[str, frozenset[str]] | None = None
    if_ones: str | None = None
    if_codes: tuple[str, str] | None = None
    may_be_codes: tuple[TensorRef, ...] = ()

    @classmethod
    def of(
        cls,
        fault: Fault,
        *,
        variant: str | None = None,
        only: frozenset[str] | None = None,
        severity: Severity | None = None,
    ) -> Observation:
        """A fault that something else found, with consequences of its own."""
        stated = {field.name: getattr(fault, field.name) for field in fields(Fault)}
        return cls(**stated, variant=variant, only=only, severity=severity)


@record(repr=False)
class Finding(Shown):
    """One thing that is wrong, where, what was expected and found, how to fix it, and whom it hits."""

    code: str
    name: str
    severity: Severity
    message: str
    file: str | None = None
    tensor: str | None = None
    expected: str | None = None
    found: str | None = None
    help: str | None = None
    engines: tuple[Effect, ...] = ()
    #: What the rule says that it is about, if it says so.
    stated: Subject | None = field(default=None, compare=False, repr=False)
    #: Engines of which nobody knows whether they read the format, where what their tables say is of formats they read.
    strangers: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    #: Of a value for which the config was not understood: engines whose tables do not say what they make of it.
    unheard: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def _look(self) -> Look:
        where = ": ".join(part for part in (self.file, self.tensor) if part)
        rows: list[tuple[str, str | None]] = [("rule", self.name), ("file", self.file), ("tensor", self.tensor)]
        rows += [("expected", self.expected), ("found", self.found), ("help", self.help)]
        rows += [("engine", f"{effect.engine} {effect.versions}: {effect.outcome.value}") for effect in self.engines]
        shown = [(label, text) for label, text in rows if text]
        return Look(
            where or self.name, [f"{self.code} {self.severity.value}", self.message], ("", ""), shown, len(shown)
        )

    @property
    def subject(self) -> Subject | None:
        """What it is about, as data for its fix: what the rule says, or the tensor, or the file."""
        if self.stated is not None:
            return self.stated
        if self.tensor is not None:
            return StoredTensor(self.tensor, self.file)
        return None if self.file is None else File(self.file)

    def hits(self, engines: frozenset[str]) -> bool:
        """Whether one of these engines suffers, or may: of which nothing is known while it is an error, or is not known
        to hurt anybody. An engine whose table speaks of the code, and not of this variant of it, is spared, if what the
        table says is of this format and the config was understood."""
        if any(effect.engine in engines and effect.outcome.harmful for effect in self.engines):
            return True
        if self.engines and self.severity is not Severity.ERROR:
            return False
        known, told = registry.engines(), {effect.engine for effect in self.engines}
        apart = self.strangers | self.unheard
        return any(engine in apart or self.code not in known[engine].codes for engine in engines - told)

    def to_fault(self) -> Fault:
        """The finding as an error carries it, its code in front."""
        message = f"{self.code} {self.message}"
        return Fault(self.code, message, self.file, self.tensor, self.expected, self.found, self.help)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; keys without a value are left out."""
        document: dict[str, Any] = {name: getattr(self, name) for name in _STATED}
        document["severity"] = self.severity.value
        document["engines"] = [effect.to_json() for effect in self.engines] or None
        return {key: value for key, value in document.items() if value is not None}


#: The fields that a report holds; what a fix or a choice of engines has to know is no part of it.
_STATED = tuple(field.name for field in fields(Finding) if field.compare)
