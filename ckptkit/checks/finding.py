"""Findings: what a rule reports, as data. Renderers live elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

from ckptkit.engines.base import Effect
from ckptkit.errors import Fault


class Severity(str, Enum):
    """How much a finding matters.

    ``error``: an engine refuses the checkpoint or its numbers are certainly wrong. ``warning``: some engine is
    silently wrong or fails in some setting. ``info``: worth knowing, nothing breaks.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Observation(Fault):
    """A fault whose consequences differ from those that its rule usually has.

    ``variant`` is a word under which engines' tables may tell other consequences; ``only`` names the engines that can
    suffer, where the rule has asked them; ``severity`` replaces the rule's.
    """

    variant: str | None = None
    only: frozenset[str] | None = None
    severity: Severity | None = None

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


@dataclass(frozen=True)
class Finding:
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

    def hits(self, engines: frozenset[str]) -> bool:
        """Whether one of these engines suffers. A finding without known effects is about the files: it hits all."""
        return not self.engines or any(e.engine in engines and e.outcome.harmful for e in self.engines)

    def to_fault(self) -> Fault:
        """The finding as an error carries it, its code in front."""
        message = f"{self.code} {self.message}"
        return Fault(self.code, message, self.file, self.tensor, self.expected, self.found, self.help)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; keys without a value are left out."""
        document = asdict(self)
        document["severity"] = self.severity.value
        document["engines"] = [effect.to_json() for effect in self.engines] or None
        return {key: value for key, value in document.items() if value is not None}
