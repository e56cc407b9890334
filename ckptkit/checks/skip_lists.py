"""How each engine reads the checkpoint's skip list, and what its config means to be quantized."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ckptkit.checks.config_keys import keys_of, layers_of
from ckptkit.checks.context import Context
from ckptkit.checks.fused import FusedGroup, fused_groups
from ckptkit.engines.entries_of_experts import tells_experts_apart
from ckptkit.engines.layers import Layer, layer_of
from ckptkit.engines.matchers import Matcher
from ckptkit.engines.prediction import is_mtp
from ckptkit.engines.registry import engines, readings_for
from ckptkit.engines.skip_lists import Reading
from ckptkit.engines.targets import (
    READERS,
    in_library_group,
    in_vllm_group,
    targets_by_group,
    whatever_targets_say,
    with_targets,
)
from ckptkit.model import names
from ckptkit.model.census import is_small
from ckptkit.model.granularity import PerBlock
from ckptkit.storage.payload import TensorRef

#: Kinds of layers that all model classes build from the config.
_BUILT = frozenset({Layer.LINEAR, Layer.FUSED, Layer.EXPERT})
#: What an exact name does not have.
_PATTERN = re.compile(r"^re:|[*?\[]")


def builds_quantized(context: Context, reading: Reading) -> Callable[[str], bool]:
    """Whether an engine builds a module quantized, as far as the config alone decides: fused parts apart."""
    skipped, covered, asked = _skipped_by(context, reading), _declares(context, reading), _asked(context, reading)
    if reading.declares is None or not reading.whole_too:
        return lambda name: covered(asked(name)) and not skipped(name)

    def builds(name: str) -> bool:
        own = asked(name)
        whole = reading.whole(own)
        return (covered(own) or (whole is not None and covered(whole))) and not skipped(name)

    return builds


def another_scheme(context: Context, reading: Reading) -> Iterator[tuple[str, str, str | None]]:
    """Linear modules that a reader asks for by the name of a fused layer and finds another scheme for: the module, the
    name, and what was found, None for nothing."""
    if reading.scheme_of is None:
        return
    scheme_of, skipped = reading.scheme_of(_block(context, reading)), _skipped_by(context, reading)
    asked, mapped = _asked(context, reading), reading.own_map or str
    targets = [target for group in targets_by_group(context.block).values() for target in group]
    told = (*reading.entries(context.block), *targets, *layers_of(context))
    for name, members in meant_alike(context, told):
        whole = asked(name)
        own = mapped(name)
        if whole != own and not skipped(name) and scheme_of(whole) != scheme_of(own):
            yield from ((member, asked(member), scheme_of(whole)) for member in members)


def are_cut(context: Context, reading: Reading, module: str, scheme: str | None) -> bool:
    """Whether scales of a linear module's rows fill those of blocks, as modules of another scheme have them: as many
    columns, and at least as many rows. What is too much of them is then cut off."""
    checkpoint = context.checkpoint
    stored = checkpoint.modules.get(module) if checkpoint is not None else None
    if checkpoint is None or stored is None or stored.weight_scale is None or reading.scheme_of is None:
        return False
    scheme_of, mapped = reading.scheme_of(_block(context, reading)), reading.own_map or str
    alike = (kind.first for kind in checkpoint.alike if scheme_of(mapped(kind.first.name)) == scheme)
    blocks = next((other.scheme.weight.granularity for other in alike), None)
    shape = stored.weight_scale.shape
    if not isinstance(blocks, PerBlock) or len(shape) != 2 or len(stored.weight.shape) != 2:
        return False
    rows, columns = stored.weight.shape
    return shape[1] == -(-columns // blocks.columns) and shape[0] >= -(-rows // blocks.rows)


def without_target(context: Context, reading: Reading) -> Iterator[str]:
    """Linear modules in high precision for which a reader that wants a target for every linear layer finds none."""
    if reading.scheme_of is None or not reading.wants_targets or context.checkpoint is None:
        return
    scheme_of = reading.scheme_of(context.block)
    if scheme_of("") is not None:
        return  # a target that is a class means all
    skipped, asked = _skipped_by(context, reading), _asked(context, reading)
    for name in context.checkpoint.unquantized:
        built = layer_of(name) in _BUILT and not is_mtp(context.dimensions, name)
        if built and scheme_of(asked(name)) is None and not skipped(name):
            yield name


def listed_in_part(context: Context, reading: Reading) -> Iterator[FusedGroup]:
    """Fused layers of which a list names some parts and others not, though all are stored alike, where a reader insists
    that these agree."""
    if not reading.fuses or not reading.entries(context.block):
        return
    listed, asked = reading.matcher(reading.entries(context.block)), _asked(context, reading)
    # Where what is built has a name of its own on the list, the parts are asked for all the same, and first.
    skipped = _skipped_by(context, reading) if reading.built_style is None else lambda name: listed(asked(name))
    stored: dict[str | None, list[str]] = {}
    for weight in undeclared_weights(context):
        stored.setdefault(names.fused_layer(weight.module), []).append(weight.module)
    for group in _groups_outside_experts(context):
        if group.uniform and not group.other_attention and names.other_tower(group.owner) is None:
            members = (*group.members, *stored.get(names.join(group.owner, group.fused), ()))
            if len({skipped(name) for name in members}) > 1:
                yield group


def built_untargeted(context: Context, reading: Reading) -> Iterator[str]:
    """Linear modules in high precision that no target means, and that a reader who looks at no targets quantizes."""
    checkpoint = context.checkpoint
    if reading.declares is not whatever_targets_say or checkpoint is None:
        return
    meant, skipped = in_library_group(context.block), _skipped_by(context, reading)
    for name in checkpoint.unquantized:
        built = layer_of(name) in _BUILT and not is_mtp(context.dimensions, name)
        if built and not meant(name) and not skipped(name):
            yield name


def meant_alike(context: Context, entries: Iterable[str]) -> Iterable[tuple[str, Sequence[str]]]:
    """Linear modules of which any entry means all or none, by the first of them: a layer's experts, or one alone."""
    if context.names_in_memory or any(map(tells_experts_apart, entries)):
        return ((name, (name,)) for name in context.linear_names)
    return context.remembered("alike but for an expert's number", lambda: _expert_twins(context.linear_names)).items()


def _expert_twins(modules: Iterable[str]) -> Mapping[str, Sequence[str]]:
    first_of: dict[tuple[str, str], str] = {}
    found: dict[str, list[str]] = {}
    for name in modules:
        before, _, after = name.partition(".experts.")
        number, _, last = after.partition(".")
        first = first_of.setdefault((before, last), name) if number.isdecimal() else name
        if first is name:
            found[name] = [name]
        else:
            found[first].append(name)
    return found


def read_otherwise(context: Context) -> Mapping[str, frozenset[str]]:
    """Modules for which some engines find another group of the config than ckptkit does, which asks as the format's
    own library: module -> these engines. What is said of such a module's scheme is not what they see."""
    groups = targets_by_group(context.block)
    theirs = frozenset(e for e, reading in readings_of(context).items() if reading.declares is in_vllm_group)
    key = keys_of(context).groups
    if len(groups) < 2 or not theirs or key is None:
        return {}
    first, second = (group_of(groups) for group_of in READERS.values())
    bodies = {name: {**body, "targets": None} for name, body in context.block[key].items() if name in groups}

    def differs(module: str) -> bool:
        one, other = first(module), second(module)
        return one != other and (one is None or other is None or bodies[one] != bodies[other])

    return {name: theirs for name in context.linear_names if differs(name)}


def _block(context: Context, reading: Reading) -> Mapping[str, Any]:
    """The config with targets as a model class maps them."""
    return context.block if reading.own_map is None else with_targets(context.block, reading.own_map.of_entry)


def _asked(context: Context, reading: Reading) -> Callable[[str], str]:
    return reading.asked(context.dimensions.architecture, context.dimensions.layers)


def _skipped_by(context: Context, reading: Reading) -> Matcher:
    """Whether an engine finds a module on the skip list, under the names that it looks for.

    Some match names in memory. Others map the entries as they map the stored names, so that either will do. What a
    model class builds plain whatever is listed counts as listed.
    """
    plain, listed = reading.plain(context.dimensions.architecture), _listed_by(context, reading)
    return listed if plain is None else lambda name: plain(name) or listed(name)


def _listed_by(context: Context, reading: Reading) -> Matcher:
    entries, others = reading.entries(context.block), context.names_in_memory
    listed, asked = reading.matcher(entries), _asked(context, reading)

    def as_asked(name: str) -> bool:
        return listed(asked(name))

    def or_whole(name: str) -> bool:
        own = asked(name)
        whole = reading.whole(own)
        return listed(own) or (whole is not None and listed(whole))

    # Most lists name no fused layer, and there may be a hundred thousand modules.
    matches: Matcher = or_whole if reading.whole_too and any(map(_may_be_whole, entries)) else as_asked
    if reading.merged_by_parts:
        matches = _as_built(asked, listed, reading.built_matcher(entries))
    elif reading.patterns_on_whole:
        matches = _on_whole(context, asked, listed, frozenset(entries))
    if not others or reading.own_map is not None:
        return matches
    if reading.names_in_memory:
        return lambda name: matches(others.get(name, name))
    if reading.maps_names_only:
        plain = reading.matcher([entry for entry in entries if not _PATTERN.search(entry)])
        return lambda name: matches(name) or (name in others and plain(asked(others[name])))
    return lambda name: matches(name) or (name in others and matches(others[name]))


def _as_built(asked: Callable[[str], str], listed: Matcher, built: Matcher | None) -> Matcher:
    """Whether a module is listed by its own name, all parts of a merged one by theirs, or what is built of it."""

    def matches(name: str) -> bool:
        own = asked(name)
        if built is not None and (built(own) or names.experts_owner(own) is not None):
            return built(own)
        owner, _, last = own.rpartition(".")
        parts = names.FUSED_GROUPS.get(last)
        return listed(own) if parts is None else all(listed(names.join(owner, part)) for part in parts)

    return matches


def _groups_outside_experts(context: Context) -> tuple[FusedGroup, ...]:
    """Fused layers that are no part of a routed expert: few even where experts make a hundred thousand modules."""

    def found() -> tuple[FusedGroup, ...]:
        if context.checkpoint is None:
            return ()
        linear = context.checkpoint.linear_names
        outside = [name for name in linear if ".experts." not in name or names.experts_owner(name) is None]
        return fused_groups(context.checkpoint, outside)

    return context.remembered("groups-outside-experts", found)


def _on_whole(context: Context, asked: Callable[[str], str], listed: Matcher, entries: frozenset[str]) -> Matcher:
    """Whether a module is listed by its own whole name, or the layer that it is fused into in any way."""
    groups = [group for group in _groups_outside_experts(context) if ".experts." not in group.owner]
    whole = {member: names.join(group.owner, group.fused) for group in groups for member in group.members}
    # Whether the config calls them quantized does not matter to what is fused.
    for module in {weight.module for weight in undeclared_weights(context) if ".experts." not in weight.module}:
        fused = names.fused_layer(module)
        if fused is not None:
            whole[module] = fused

    def matches(name: str) -> bool:
        fused = whole.get(name)
        return listed(asked(name)) if fused is None else asked(name) in entries or listed(asked(fused))

    return matches


def _may_be_whole(entry: str) -> bool:
    """Whether an entry of a skip list may match the name of a fused layer."""
    return bool(_PATTERN.search(entry)) or entry.endswith(tuple(names.FUSED_GROUPS))


def undeclared_weights(context: Context) -> tuple[TensorRef, ...]:
    """Weights of linear modules that are stored in FP8 although the config does not call them quantized."""
    stored = context.checkpoint.stored_only if context.checkpoint else ()
    return tuple(t for t in stored if len(t.shape) == 2 and t.name.endswith(".weight") and not is_small(t))


def readings_of(context: Context) -> Mapping[str, Reading]:
    """Engine -> how it reads the checkpoint's skip list, as far as that is known."""
    if context.checkpoint is None:
        return {}
    return readings_for(context.dialect_key, context.dimensions.architecture)


def matchers_of(context: Context) -> dict[str, Matcher]:
    """Engine -> whether it finds a module on the skip list."""
    return {engine: _skipped_by(context, reading) for engine, reading in readings_of(context).items()}


def declared(context: Context) -> Matcher:
    """Whether the config means a module to be quantized, the skip list aside, as the first engine in order reads it."""
    return context.remembered("declared", lambda: _declares(context, next(iter(readings_of(context).values()), None)))


def _declares(context: Context, reading: Reading | None) -> Matcher:
    """Engines take it from the format's own library, but for groups of targets, which some match in their own way."""
    if context.checkpoint is None or context.format is None:
        return lambda name: True
    own = reading.declares if reading is not None else None
    if own is None or reading is None:
        return context.format.declares(context.checkpoint)
    return own(_block(context, reading))


def engines_that_build(context: Context, module: str, *, quantized: bool) -> frozenset[str] | None:
    """The engines that build a module quantized, or not, and those whose reading of the config is not known; None where
    no engine's is. One that goes by what is stored builds what has a scale quantized, the rest not."""
    decided = context.remembered(
        "built quantized",
        lambda: {e: builds_quantized(context, reading) for e, reading in readings_of(context).items()},
    )
    if not decided:
        return None
    return frozenset(
        name
        for name, engine in engines().items()
        if (quantized if engine.by_storage else name not in decided or decided[name](module) is quantized)
    )


def engines_that_skip(context: Context, module: str) -> frozenset[str]:
    """The engines whose class for the checkpoint has no such module, and leaves it out: no linear layer has parts, such
    as those of an adapter."""
    architecture = context.dimensions.architecture
    known = {name: engine.modules().get(engine.served_as(architecture) or "") for name, engine in engines().items()}
    inside = names.join(module.rpartition(".")[0], "weight") in context.container.tensors
    return frozenset(
        name
        for name, modules in known.items()
        if (inside and engines()[name].lists_unexpected) or (modules is not None and modules.leaves_out(module))
    )


def engines_that_contradict(context: Context) -> frozenset[str] | None:
    """The engines that build some linear module otherwise than it is stored; None where no engine's reading is
    known."""
    checkpoint = context.checkpoint
    if checkpoint is None or not readings_of(context):
        return None
    stored = {name: name not in checkpoint.unquantized for name in context.linear_names}
    return frozenset(
        engine
        for engine, reading in readings_of(context).items()
        if any(builds_quantized(context, reading)(name) is not quantized for name, quantized in stored.items())
    )
