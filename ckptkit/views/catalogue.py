"""``docs/rules.md``, made from the rules themselves by ``make docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from ckptkit.checks.planned import PLANNED
from ckptkit.checks.registry import FAMILIES, Rule, all_rules
from ckptkit.engines.registry import engines, label_of

_INTRODUCTION = """\
# Rules

Made from the code by `make docs`; `ckptkit rule CK301` prints one of them.

A rule has a code for ever. Codes are grouped by family; `--select` and `--ignore` take prefixes, so `CK3` is all
rules about shapes. A level says what a rule reads: `headers` needs the JSON and the headers, `scales` the values of
scales too (a few megabytes), `full` every byte of every weight. *Fixed* says what `validate --fix` does: what is
safe, and with `--unsafe-fixes` what is a judgement call.

Engines are judged as of the versions below. What was only read or reported is not marked as reproduced.
"""

_HEADINGS = {
    "files": "Files, headers, index",
    "naming": "Names",
    "shapes": "Shapes",
    "dtypes": "Element types",
    "values": "Values",
    "config": "The quantization config",
    "fused": "Modules that are loaded as one",
    "sharding": "Blocks and tensor parallelism",
    "kv_cache": "The KV cache",
}
_FIXED = {"safe": "by `--fix`", "unsafe": "by `--unsafe-fixes`", None: "by hand"}


def render_rules_markdown() -> str:
    """The whole document."""
    rules = all_rules()
    return (
        "\n".join(
            [_INTRODUCTION, *_engines(), *_overview(rules), *_chapters(rules), *_proof(rules), *_beside(), *_planned()]
        )
        + "\n"
    )


def _engines() -> Iterator[str]:
    yield "| engine | version | of | known from |"
    yield "|---|---|---|---|"
    for engine in engines().values():
        for release in engine.releases:
            what = f" ({', '.join(release.covers)})" if release.covers else ""
            commit = f" ({release.commit[:12]})" if release.commit else ""
            yield f"| {engine.label} | {release}{commit}{what} | {release.date} | {release.basis} |"
    yield ""


def _overview(rules: Iterable[Rule]) -> Iterator[str]:
    yield "| code | name | severity | level | fixed | what it finds |"
    yield "|---|---|---|---|---|---|"
    for rule in rules:
        cells = (
            f"[{rule.code}](#{_anchor(rule)})",
            rule.name,
            rule.severity.value,
            rule.level.name.lower(),
            _FIXED[rule.fix],
            _inline(rule.summary),
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def _chapters(rules: tuple[Rule, ...]) -> Iterator[str]:
    for family in FAMILIES.values():
        yield f"## {_HEADINGS[family]}"
        yield ""
        for rule in rules:
            if rule.family == family:
                yield from _chapter(rule)


def _chapter(rule: Rule) -> Iterator[str]:
    yield f"### {rule.code} {rule.name}"
    yield ""
    yield f"{rule.severity.value}, reads {rule.level.name.lower()}, fixed {_FIXED[rule.fix]}, since {rule.since}"
    yield ""
    yield _inline(rule.documentation)
    yield ""
    if rule.effects:
        for effect in rule.effects:
            note = f": {effect.note}" if effect.note else ""
            label = label_of(effect.engine)
            yield f"- {label} ({effect.versions}): **{effect.outcome.value}**{note}"
        yield ""


def _proof(rules: Iterable[Rule]) -> Iterator[str]:
    yield "## Proof"
    yield ""
    yield "For each rule: who met the defect, and how it was reproduced here with the real library. A rule without a"
    yield "reproduction rests on the reports and on reading the library's source."
    yield ""
    yield "| code | reports | reproduced |"
    yield "|---|---|---|"
    for rule in rules:
        reports = ", ".join(
            f"[{report}]({address})" for report, address in zip(rule.reports, rule.sources, strict=True)
        )
        yield f"| {rule.code} | {reports or rule.unreported} | {_inline(rule.reproduced)} |"
    yield ""


def _beside() -> Iterator[str]:
    yield "## Errors that are no rules'"
    yield ""
    yield "| code | name | what it says |"
    yield "|---|---|---|"
    yield (
        "| CK198 | engine-refuses | with `--for`: an engine that was asked about refuses what is stored, takes it"
        " wrong, or does not read the format, for a reason that no rule gives; `--gpu` narrows it to hardware |"
    )
    yield "| CK199 | served-differs | with `--expect`: what the Hub serves is not the folder that was checked |"
    yield ""


def _planned() -> Iterator[str]:
    yield "## Not checked"
    yield ""
    yield "| code | what it would find | why it is not checked |"
    yield "|---|---|---|"
    for code, (what, why, _) in PLANNED.items():
        yield f"| {code} | {what} | {why} |"


def _anchor(rule: Rule) -> str:
    return f"{rule.code}-{rule.name}".lower()


def _inline(text: str) -> str:
    """Docstring markup as Markdown."""
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(render_rules_markdown())
