"""CK608 skip-entry-ambiguous, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Module, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.checks.skip_lists import (
    another_scheme,
    are_cut,
    built_untargeted,
    listed_in_part,
    matchers_of,
    meant_alike,
    readings_of,
    undeclared_weights,
    without_target,
)
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.engines.matchers import Matcher
from ckptkit.engines.parallel import is_split_alone
from ckptkit.engines.prediction import is_mtp
from ckptkit.engines.registry import label_of
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.select import Exact
from ckptkit.rules.config.skip_entries import skip_key, skip_lists


@rule(
    "CK608",
    "skip-entry-ambiguous",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#44628",
        "sgl-project/sglang#23467",
        "huggingface/transformers#47990",
        "vllm-project/vllm#51265",
    ),
)
def skip_entry_ambiguous(context: Context) -> Iterator[Fault]:
    """The skip list means different modules to different engines.

    Why it hurts: entries are exact names to one reader, regular expressions or shell patterns to the next. Where they
    disagree, one of them builds a layer quantized that another leaves alone, and the stored bytes suit only one. Some
    model classes of SGLang ask for ``qkv_proj`` and never for its parts: these on a list, or in a group of their own,
    say nothing there. SGLang stops at a linear layer that neither a group of compressed-tensors targets nor the list
    names, where others leave it alone.

    Example: ``*mlp.gate`` in Quark's ``exclude``: a pattern for Quark, a name that nothing has for vLLM, which casts
    the gates to FP8. Or ``visual.blocks.0.attn.qkv`` as llm-compressor stores and lists it: transformers
    knows ``model.visual.blocks.0.attn.qkv`` and builds the tower from scales that nothing sets.

    Fix: write exact module names, those of multimodal models as transformers calls them in memory too.
    """
    checkpoint = context.checkpoint
    if checkpoint is None:
        return
    yield from _asked_whole(context)
    yield from _untargeted(context)
    yield from _in_part(context)
    readings, architecture = readings_of(context), context.dimensions.architecture
    entries = [entry for reading in readings.values() for entry in reading.entries(context.block)]
    if not entries and all(reading.plain(architecture) is None for reading in readings.values()):
        return
    matchers = matchers_of(context)
    # Some leave the head alone whatever is listed, and some have no scheme for it.
    building = {engine for engine, reading in readings.items() if reading.builds_heads}
    by_memory = {engine for engine, reading in readings.items() if reading.names_in_memory}
    heads = {engine: matches for engine, matches in matchers.items() if engine in building}

    def asked(module: str) -> Mapping[str, Matcher]:
        return heads if names.is_head(module) and module not in context.names_in_memory else matchers

    grouped: dict[tuple[str, tuple[str, ...], bool], list[str]] = {}
    undeclared = ((weight.module, (weight.module,)) for weight in undeclared_weights(context))
    for name, members in (*meant_alike(context, entries), *undeclared):
        skips = tuple(engine for engine, matches in asked(name).items() if matches(name))
        if skips and len(skips) != len(asked(name)):
            of_draft = is_mtp(context.dimensions, name)
            grouped.setdefault((names.generalise(name), skips, of_draft), []).extend(members)
    if not grouped:
        yield from context.faults("ct-ignore-class")
    for (kind, skips, _), members in grouped.items():
        stored = members[0] not in checkpoint.unquantized
        others = [engine for engine in asked(members[0]) if engine not in skips]
        wrong = frozenset(skips if stored else others)
        if names.is_head(members[0]):
            wrong &= building | by_memory
        found = f"left alone by {_labels(skips)}; quantized by {_labels(others)}"
        other = None if stored else context.names_in_memory.get(members[0])
        count = f"{len(members)} modules like this" if len(members) > 1 else "this module"
        yield Observation(
            "skip-ambiguous",
            f"engines disagree whether the skip list means {count}",
            context.section.file,
            members[0] if len(members) == 1 else kind,
            expected=f"{other} as well" if other else "exact module names",
            found=found,
            variant=_left_alone(context, members[0])
            if stored
            else f"built{'/split-alone' * is_split_alone(checkpoint, members[0])}",
            only=wrong,
            subject=Module(members[0]),
        )


def _left_alone(context: Context, module: str) -> str:
    """What is told apart of a quantized module that the list means: one that has another name in memory, and one
    between a tower and the language model."""
    renamed = "/renamed" * (module in context.names_in_memory)
    return f"left-alone{renamed}{'/projector' * names.is_projector(module)}"


def _asked_whole(context: Context) -> Iterator[Fault]:
    """Fused layers for which an engine finds another scheme than their parts have, or none: one fault for each kind."""
    for engine, reading in readings_of(context).items():
        grouped: dict[tuple[str, str | None], list[tuple[str, str]]] = {}
        found = list(another_scheme(context, reading))
        for name, whole, scheme in found:
            grouped.setdefault((names.generalise(whole), scheme), []).append((name, whole))
        cut = bool(found) and all(are_cut(context, reading, name, scheme) for name, _, scheme in found)
        for (kind, scheme), members in grouped.items():
            name, whole = members[0]
            yield Observation(
                "skip-ambiguous",
                f"{label_of(engine)} asks for a fused layer by its own name, which the config gives another scheme",
                context.section.file,
                whole if len({fused for _, fused in members}) == 1 else kind,
                expected=f"an entry for {whole} beside that for {names.last_part(name)}",
                found="nothing" if scheme is None else "another scheme",
                variant="no-scheme" if scheme is None else f"another-scheme{'/cut' * cut}",
                only=frozenset({engine}),
                subject=Module(name),
            )


def _untargeted(context: Context) -> Iterator[Fault]:
    """Layers in high precision that neither a target nor the list names, where an engine wants one of both, or looks
    at the list alone."""
    for engine, reading in readings_of(context).items():
        untargeted = list(built_untargeted(context, reading))
        if untargeted:
            yield Observation(
                "skip-ambiguous",
                f"{label_of(engine)} looks at no targets: what they leave out has to be on the list",
                context.section.file,
                untargeted[0],
                expected=f"{untargeted[0]} in {skip_key(context)}",
                found=f"{len(untargeted)} modules that neither a target nor the list names",
                variant="built",
                only=frozenset({engine}),
            )
        grouped: dict[str, list[str]] = {}
        for name in without_target(context, reading):
            grouped.setdefault(names.generalise(name), []).append(name)
        for kind, members in grouped.items():
            yield Observation(
                "skip-ambiguous",
                f"{label_of(engine)} wants a target or an entry for every linear layer, and this one has neither",
                context.section.file,
                members[0] if len(members) == 1 else kind,
                expected=f"{members[0]} in {skip_key(context)}",
                found="no target",
                variant="no-target",
                only=frozenset({engine}),
                subject=Module(members[0]),
            )


def _in_part(context: Context) -> Iterator[Fault]:
    """Fused layers that the list names in part, where engines insist that it names all parts or none."""
    grouped: dict[tuple[str, str], tuple[str, dict[str, None]]] = {}
    for engine, reading in readings_of(context).items():
        for group in listed_in_part(context, reading):
            kind = (names.generalise(group.owner), group.fused)
            grouped.setdefault(kind, (group.members[0], {}))[1][engine] = None
    for (owner, fused), (first, engines) in grouped.items():
        yield Observation(
            "skip-ambiguous",
            "the list means some parts of a fused layer and not others, which are stored alike",
            context.section.file,
            first,
            expected="all of them, or none",
            found=f"some parts of {names.join(owner, fused)}, to {_labels(tuple(engines))}",
            variant="in-part",
            only=frozenset(engines),
            subject=Module(first),
        )


def _labels(engines: Sequence[str]) -> str:
    return ", ".join(map(label_of, engines))


@fix("safe", "CK608")
def list_exact_names(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write exact names for what engines read differently: the modules that are stored in high precision.

    Those of multimodal models under their names in memory too, since transformers knows no others, and fused layers
    under that name too, by which SGLang asks.
    """
    from ckptkit.formats.drafting import left_alone  # what only writing needs is imported by it

    checkpoint = context.checkpoint
    if checkpoint is None or context.dialect is None:
        return
    parse = context.dialect.skip_list.patterns.parse
    for written in skip_lists(context):
        listed = [entry for entry in written.entries if isinstance(entry, str)]
        patterns = {entry: parse(entry) for entry in listed}
        plain = [
            entry
            for entry, pattern in patterns.items()
            if isinstance(pattern, Exact) or not any(pattern.matches(name) for name in checkpoint.linear_modules)
        ]
        wanted = left_alone(checkpoint.unquantized, context.linear_names, context.names_in_memory)
        exact = [name for name in sorted(wanted, key=names.natural) if name not in plain]
        if plain + exact != listed:
            yield SetKey(written.way, plain + exact, written.file)
