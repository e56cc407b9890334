"""Running rules over a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any, TypeAlias

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Module, Observation, Severity
from ckptkit.checks.level import Level
from ckptkit.checks.registry import FAMILIES, Rule, all_rules, family_of
from ckptkit.checks.skip_lists import read_otherwise
from ckptkit.engines.base import Effect
from ckptkit.engines.dimensions import Dimensions
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.prediction import Drafts, is_mtp
from ckptkit.engines.registry import asked_about, codes_by_layer, drops_of, effects_of, unheard_of
from ckptkit.engines.registry import engines as known_engines
from ckptkit.errors import Fault, plural
from ckptkit.formats.base import KINDS_NOT_VALID
from ckptkit.formats.reading import BrokenConfig
from ckptkit.model.scale_table import Run
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.container import Container, paused_gc
from ckptkit.storage.payload import ByteRange
from ckptkit.storage.traffic import Traffic

#: Code, variant, the engines that can suffer, and the kind of layer -> what the defect does.
_Consequences: TypeAlias = Callable[[str, str | None, frozenset[str] | None, Layer | None], tuple[Effect, ...]]
#: Code, what it is about, variant, and the kind of layer -> the engines of which nobody knows what they make of it.
_Unheard: TypeAlias = Callable[[str, Fault, str | None, Layer | None], frozenset[str]]

#: What is said of a checkpoint in place of a format where it has none that is read.
NO_FORMAT = "no FP8 format"


@record(repr=False)
class Report(Shown):
    """All findings about one checkpoint, errors first, and what was looked at.

    ``hidden`` counts the findings that the checkpoint's own settings keep from ``findings``; none of them an error.
    ``format`` is None where none was read, and ``unread`` then says of which format the config is that nobody
    understands, if it is of one.
    """

    label: str
    format: str | None
    dialect: str | None
    level: Level
    findings: tuple[Finding, ...]
    tensors: int
    shards: int
    traffic: Traffic | None = None
    hidden: int = 0
    unread: str = ""

    @property
    def clean(self) -> bool:
        """No errors and no warnings; notes of severity info do not count."""
        return all(finding.severity is Severity.INFO for finding in self.findings)

    @property
    def what(self) -> str:
        """Its format and dialect in words."""
        return f"{self.format} ({self.dialect})" if self.format else self.unread or NO_FORMAT

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings of severity error; a rule of that severity may find milder things too."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)

    @property
    def counts(self) -> dict[str, int]:
        """Findings by severity."""
        counted = Counter(finding.severity.value for finding in self.findings)
        return {severity.value: counted[severity.value] for severity in Severity}

    def _look(self) -> Look:
        words = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
        counts = [plural(self.counts[severity.value], word) for severity, word in words.items()]
        facts = [*counts, self.what, plural(self.shards, "shard"), plural(self.tensors, "tensor")]
        rows = ((f.severity.value, f.code, f.name, f.file, f.tensor, f.message) for f in self.findings)
        columns = ("severity", "code", "rule", "file", "tensor", "what is wrong")
        return Look(self.label, [*facts, f"level {self.level.name.lower()}"], columns, rows, len(self.findings))

    def to_json(self) -> dict[str, Any]:
        """The report as described by ``schemas/report.json``."""
        return {
            "path": self.label,
            "format": self.format,
            "dialect": self.dialect,
            "level": self.level.name.lower(),
            "clean": self.clean,
            "shards": self.shards,
            "tensors": self.tensors,
            "counts": self.counts,
            "findings": [finding.to_json() for finding in self.findings],
            **({"traffic": self.traffic.to_json()} if self.traffic else {}),
        }


def read_context(
    container: Container, known_scales: Mapping[ByteRange, Run] | None = None, unread: frozenset[str] = frozenset()
) -> Context:
    """Read a container as far as its config allows; what reading met becomes part of the context.

    While a shard is missing or its names are unknown, nothing is said about modules: whatever seems to be wrong with
    them is most likely only that. ``known_scales`` are runs of scales that were judged before, by where their bytes
    are stored; those named in ``unread`` are left unread.
    """
    return Context.of(container, known_scales, unread)


@record
class Selection:
    """Which findings somebody wants to see; ``engines`` None: whomever they hit."""

    rules: tuple[Rule, ...]
    engines: frozenset[str] | None = None

    @cached_property
    def _codes(self) -> frozenset[str]:
        return frozenset(rule.code for rule in self.rules)

    def holds(self, finding: Finding) -> bool:
        """Whether a finding is among them."""
        return finding.code in self._codes and (self.engines is None or finding.hits(self.engines))

    def seen(self, finding: Finding) -> Finding:
        """A finding with what it does to the engines that somebody asked about, and to no other."""
        if self.engines is None:
            return finding
        return replace(finding, engines=tuple(e for e in finding.engines if e.engine in self.engines))


def run(
    context: Context, level: Level, rules: Iterable[Rule] | None = None, engines: Collection[str] | None = None
) -> Report:
    """Check every rule up to a level. What findings do is told for the engines that nobody has to ask for, and for
    ``engines``, which somebody did ask for."""
    findings: list[Finding] = []
    told = frozenset(asked_about()).union(engines or ())

    @cache  # a defect may be found 100,000 times, and its consequences are told once
    def consequences(
        code: str, variant: str | None, only: frozenset[str] | None, layer: Layer | None, of_readers: bool
    ) -> tuple[Effect, ...]:
        dialect, architecture = context.dialect_key, context.dimensions.architecture
        those = told if only is None else told & only
        return effects_of(
            code, variant, dialect=dialect, architecture=architecture, only=those, layer=layer, of_readers=of_readers
        )

    # Of a value that was not understood nothing is known but what engines' tables say of it.
    values = {f.message for f in context.reading_faults if f.kind in KINDS_NOT_VALID}

    def unheard(code: str, fault: Fault, variant: str | None, layer: Layer | None) -> frozenset[str]:
        if fault.message not in values:
            return frozenset()
        dialect, architecture = context.dialect_key, context.dimensions.architecture
        return told & unheard_of(code, variant, dialect=dialect, architecture=architecture, layer=layer)

    strangers = frozenset(name for name in told if known_engines()[name].reader_of(context.dialect_key) is None)
    with paused_gc():
        for rule in all_rules() if rules is None else rules:
            if rule.level <= level:
                # A damaged file stops whoever opens it; all else is for those who read the format.
                of_readers = context.dialect is not None and rule.family != FAMILIES["CK1"]
                known = partial(consequences, of_readers=of_readers)
                apart = strangers if of_readers else frozenset[str]()
                faults = rule.check(context)
                faults = faults if level is Level.HEADERS else (_told_by_values(context, fault) for fault in faults)
                findings += [_finding(rule, fault, known, unheard, apart, told) for fault in faults]
    otherwise = read_otherwise(context)
    if otherwise:
        findings = [_seen_by(finding, otherwise) for finding in findings]
    thrown_away = drops_of(context.dialect_key, told)
    if thrown_away:
        findings = [_of_what_is_kept(finding, thrown_away) for finding in findings]
    architecture = context.dimensions.architecture
    drafts = {
        name: Drafts.LEFT_OUT if architecture in engine.drafts_left_out else engine.drafts
        for name, engine in asked_about(told).items()
    }
    findings = [_of_the_draft(finding, context.dimensions, drafts) for finding in findings]
    left_out = {e.engine: e.leaves_out for f in findings for e in f.engines if e.leaves_out and e.current}
    if left_out:
        findings = [_of_what_is_loaded(finding, left_out) for finding in findings]
    order = list(Severity)
    findings.sort(key=lambda f: (order.index(f.severity), f.code))
    checkpoint, container = context.checkpoint, context.container
    return Report(
        label=container.label,
        format=checkpoint.format if checkpoint else None,
        dialect=checkpoint.dialect if checkpoint else None,
        level=level,
        findings=tuple(findings),
        tensors=len(container.tensors),
        shards=len(container.headers),
        traffic=container.source.traffic,
        unread=_unread(context),
    )


def _unread(context: Context) -> str:
    """Of which format a config is that was not understood."""
    if not isinstance(context.reading, BrokenConfig):
        return ""
    return f"{context.dialect.format if context.dialect is not None else 'a config'} that is not understood"


def select_findings(report: Report, wanted: Selection, trusted: Selection) -> Report:
    """Keep the findings that are wanted, and every error that ``trusted`` holds; count what else it holds as hidden.
    Each is told for the engines that were asked about.

    ``wanted`` is what all settings ask for, ``trusted`` what they ask for without those of the checkpoint itself.
    """
    kept, hidden = [], 0
    for finding in report.findings:
        if finding.severity is Severity.ERROR and trusted.holds(finding):
            kept.append(trusted.seen(finding))
        elif wanted.holds(finding):
            kept.append(wanted.seen(finding))
        elif trusted.holds(finding):
            hidden += 1
    return replace(report, findings=tuple(kept), hidden=hidden)


def _finding(
    rule: Rule,
    fault: Fault,
    consequences: _Consequences,
    unheard: _Unheard,
    strangers: frozenset[str],
    told: frozenset[str],
) -> Finding:
    variant, only, severity, subject = None, None, rule.severity, None
    if type(fault) is not Fault and isinstance(fault, Observation):
        variant, only, severity, subject = fault.variant, fault.only, fault.severity or severity, fault.subject
    layer, apart = _layer(rule.code, fault, told), fault.apart if isinstance(fault, Observation) else None
    if apart is None:
        effects = consequences(rule.code, variant, only, layer)
    else:
        every = frozenset(known_engines()) if only is None else only
        both = (*consequences(rule.code, variant, every - apart[1], layer), *consequences(rule.code, *apart, layer))
        effects = tuple(sorted(both, key=lambda effect: list(known_engines()).index(effect.engine)))
    if severity is Severity.INFO and any(e.of_some and e.current and e.outcome.harmful for e in effects):
        severity = Severity.WARNING  # a note is of what harms no release that was examined
    return Finding(
        rule.code,
        rule.name,
        severity,
        fault.message,
        fault.file,
        fault.tensor,
        fault.expected,
        fault.found,
        fault.help,
        effects,
        subject,
        strangers,
        unheard(rule.code, fault, variant, layer),
    )


def _told_by_values(context: Context, fault: Fault) -> Fault:
    """A fault as it is once the scale, or a few numbers of the weights, that it is about were read."""
    if not isinstance(fault, Observation):
        return fault
    if fault.if_codes is not None and not context.container.source.traits.remote:
        from ckptkit.checks.samples import hold_codes

        codes = hold_codes(context.container, fault.may_be_codes)
        return fault if codes is None else replace(fault, variant=fault.if_codes[not codes])
    if fault.if_ones is None or fault.tensor is None:
        return fault
    read = context.orphan_values.get(fault.tensor)
    if read is None:
        return fault
    values = read[1]
    return replace(fault, variant=fault.if_ones) if values.minimum == values.maximum == 1.0 else fault


def _of_what_is_loaded(finding: Finding, left_out: Mapping[str, tuple[Layer, ...]]) -> Finding:
    """A finding about a tensor, or about the cache, without the engines that leave out all layers of its kind."""
    of_cache = family_of(finding.code) == "kv_cache"
    if (finding.tensor is None and not of_cache) or any(effect.leaves_out for effect in finding.engines):
        return finding
    layer = Layer.KV_CACHE if of_cache else layer_of((finding.tensor or "").rpartition(".")[0])
    kept = tuple(e for e in finding.engines if e.regardless or layer not in left_out.get(e.engine, ()))
    return finding if kept == finding.engines else replace(finding, engines=kept)


def _of_the_draft(finding: Finding, dimensions: Dimensions, drafts: Mapping[str, Drafts | None]) -> Finding:
    """A finding about a layer that predicts: where such layers are a model of their own a load shows nothing of it, and
    where they are left out it does nothing. What is wrong with a file stops whoever opens it."""
    about = finding.stated.name if isinstance(finding.stated, Module) else finding.tensor
    if about is None or family_of(finding.code) == "files" or not is_mtp(dimensions, about):
        return finding
    kept = (e for e in finding.engines if drafts[e.engine] is not Drafts.LEFT_OUT)
    told = tuple(replace(e, at_request=True) if drafts[e.engine] is Drafts.APART else e for e in kept)
    return finding if told == finding.engines else replace(finding, engines=told)


def _of_what_is_kept(finding: Finding, thrown_away: Mapping[str, tuple[str, ...]]) -> Finding:
    """A finding about a tensor without the engines that throw it away."""
    name = finding.tensor or ""
    kept = tuple(e for e in finding.engines if not name.endswith(thrown_away.get(e.engine, ())))
    return finding if kept == finding.engines else replace(finding, engines=kept)


def _seen_by(finding: Finding, otherwise: Mapping[str, frozenset[str]]) -> Finding:
    """A finding about a module's scheme, or about a layer that it is part of, without engines that see another."""
    if finding.code == "CK617" or finding.tensor is None:
        return finding
    blind = otherwise.get(finding.tensor) or otherwise.get(finding.tensor.rpartition(".")[0])
    if blind is None:
        blind = next((e for name, e in otherwise.items() if name.rpartition(".")[0] == finding.tensor), frozenset())
    return replace(finding, engines=tuple(e for e in finding.engines if e.engine not in blind)) if blind else finding


def _layer(code: str, fault: Fault, told: frozenset[str]) -> Layer | None:
    """The kind of layer that a fault is about, if it names a tensor and engines that are told of ask."""
    if fault.tensor is None or code not in codes_by_layer(told):
        return None
    subject = fault.subject if isinstance(fault, Observation) else None
    if isinstance(subject, Module):
        return layer_of(subject.name)
    return layer_of(fault.tensor.rpartition(".")[0] or fault.tensor)
