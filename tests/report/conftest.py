"""What the renderers are tested with: two reports full of text that a careless renderer breaks on, and snapshots."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ckptkit.checks.finding import Finding, Severity
from ckptkit.checks.registry import Level, Rule, Safety
from ckptkit.checks.runner import Report
from ckptkit.engines.base import Effect, Outcome
from ckptkit.errors import UsageError
from ckptkit.record import record
from ckptkit.report import machine

SNAPSHOTS = Path(__file__).parent / "snapshots"
#: Set this to write what the renderers print now; then read the difference before committing it.
UPDATE = "CKPTKIT_UPDATE_SNAPSHOTS"

Snapshot = Callable[[str, str], None]


def check_nothing(context: object) -> tuple[()]:
    """A scale has the wrong shape.

    Why it hurts: ``[N]`` is not ``[N, 1]``.

    Example: none & <none>.

    Fix: reshape it.
    """
    return ()


@record
class MadeUpRule(Rule):
    """A rule whose effects and reproduction do not come from engines' tables, so that those may change."""

    known: tuple[Effect, ...] = ()

    @property
    def effects(self) -> tuple[Effect, ...]:
        return self.known

    @property
    def reproduced(self) -> str:
        return "vLLM 0.32: AssertionError"


def make_rule(code: str, name: str, severity: Severity, fix: Safety | None = None) -> Rule:
    effects = (Effect("vllm", "0.32.0", Outcome.ERROR, "asserts"), Effect("quark", "0.13", Outcome.OK))
    from ckptkit.checks.registry import Fixer, OnConversion

    return MadeUpRule(
        code=code,
        name=name,
        severity=severity,
        level=Level.HEADERS,
        conversion=OnConversion.FIXED,
        check=check_nothing,
        known=effects if severity is Severity.ERROR else (),
        reports=("example/repository#1",),
        fixers=() if fix is None else (Fixer(code, fix, lambda context, finding: ()),),
    )


@pytest.fixture
def rules() -> Mapping[str, Rule]:
    made = [
        make_rule("CK301", "channel-scale-rank", Severity.ERROR, "safe"),
        make_rule("CK605", "skip-list-incomplete", Severity.WARNING, "unsafe"),
        make_rule("CK111", "metadata-format", Severity.INFO),
    ]
    return {rule.code: rule for rule in made}


@pytest.fixture
def reports(rules: Mapping[str, Rule]) -> list[Report]:
    def shape(layer: int, part: str = "up_proj") -> Finding:
        return Finding(
            "CK301",
            "channel-scale-rank",
            Severity.ERROR,
            "the per-channel scale of a weight [64, 80] has the wrong shape",
            "model.safetensors",
            f"model.layers.{layer}.mlp.{part}.weight_scale",
            "[64, 1]",
            "[64]",
            "reshape it",
            rules["CK301"].effects,
        )

    odd = Finding(
        "CK605",
        "skip-list-incomplete",
        Severity.WARNING,
        "100% odd: <tag> & [bold]markup[/] 'quoted', \x1b[31mred\x1b[0m",
        "a,b:c.safetensors",
        "schicht.層.weight\nsecond line",
        expected="x\ry",
        found="\x00",
    )
    note = Finding("CK111", "metadata-format", Severity.INFO, "no format in __metadata__", "model.safetensors")
    findings = (*(shape(layer) for layer in range(12)), shape(0, "q_proj"), odd, note)
    bad = Report("models/odd [name]", "compressed-tensors", "float-quantized", Level.SCALES, findings, 1234, 3)
    return [bad, Report("models/good", "quark", "native", Level.HEADERS, (), 53, 1)]


@pytest.fixture
def snapshot() -> Snapshot:
    """Compare text with a stored snapshot, or store it."""

    def compare(name: str, text: str) -> None:
        path = SNAPSHOTS / name
        if os.environ.get(UPDATE):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"if this is meant: {UPDATE}=1 pytest tests/report"

    return compare


def terminal(*, colour: bool = False) -> tuple[Console, StringIO]:
    """A console of a pinned width, and what it has printed."""
    stream = StringIO()
    system = "standard" if colour else None
    return Console(
        file=stream, width=100, force_terminal=colour, color_system=system, highlight=False, soft_wrap=True
    ), stream


#: Formats of findings for programs.
FORMATS = sorted(("json", *machine.RENDERERS))


def rendered(
    name: str, reports: Sequence[Report], rules: Mapping[str, Rule], failures: Mapping[str, str] | None = None
) -> str:
    """Reports in a format, as the command line has them rendered; ``failures``: paths, and what was in the way."""
    failures = failures or {}
    if name != "json":
        return machine.RENDERERS[name](reports, rules, failures)
    errors = {path: UsageError(message) for path, message in failures.items()}
    return machine.dump([report.to_json() for report in reports], errors, several=len(reports) + len(errors) > 1)
