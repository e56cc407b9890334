"""The engines that are judged, and what a defect does to each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any


class Outcome(str, Enum):
    """What happens when an engine meets a defect, the worst first.

    ``error``: it stops. ``silent``: it runs and its numbers are wrong, with no word about it. ``warning``: the same
    with a line in the log. ``slow``: right, on a slower path. ``ok``: checked, and nothing happens.
    """

    ERROR = "error"
    SILENT = "silent"
    WARNING = "warning"
    SLOW = "slow"
    OK = "ok"

    @property
    def harmful(self) -> bool:
        return self is not Outcome.OK


@dataclass(frozen=True)
class Engine:
    """A consumer of checkpoints, the version that was examined, and how: by running it, from source, or by report."""

    name: str
    label: str
    version: str
    basis: str


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        engine.name: engine
        for engine in (
            Engine("vllm", "vLLM", "0.32.0", "run and source"),
            Engine("sglang", "SGLang", "main, 2026-08", "source and reports"),
            Engine("trtllm", "TensorRT-LLM", "1.x", "reports"),
            Engine("transformers", "transformers", "5.16", "run and source"),
            Engine("quark", "Quark", "0.13", "run and source"),
        )
    }
)


@dataclass(frozen=True)
class Effect:
    """What one defect does in one engine. ``versions`` says for which ones that is known, in words or as a range."""

    engine: str
    versions: str
    outcome: Outcome
    note: str = ""

    @property
    def current(self) -> bool:
        """Whether it holds for the version in the engine table, and not only for older ones."""
        return self.versions in ("any", ENGINES[self.engine].version)

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "versions": self.versions,
            "outcome": self.outcome.value,
            "note": self.note,
        }

    def __str__(self) -> str:
        text = f"{ENGINES[self.engine].label} {self.versions}: {self.outcome.value}"
        return f"{text} ({self.note})" if self.note else text
