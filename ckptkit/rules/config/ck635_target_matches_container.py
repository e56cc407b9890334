"""CK635 target-matches-container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.targets import targets_by_group
from ckptkit.errors import Fault
from ckptkit.formats import registry
from ckptkit.formats.dialect import texts
from ckptkit.model import names
from ckptkit.model.backtracking import may_run_away
from ckptkit.model.select import Pattern, Selector, regex_or_exact

#: Linear layers that stand beside an activation, which is a module too.
_AFTER_ACTIVATION = frozenset({"down_proj", "w2"})
_EMBEDDING = "embed_tokens"


@rule(
    "CK635",
    "target-matches-container",
    Severity.INFO,
    conversion=OnConversion.FIXED,
    unreported="found by loading groups of the usual patterns with two releases of compressed-tensors",
)
def target_matches_container(context: Context) -> Iterator[Fault]:
    """A target of a group that quantizes weights matches more than linear layers: what holds them, norms, embeddings.

    Why it hurts: older releases of compressed-tensors apply the group to every module that a target matches, and stop
    at one that is no linear layer. Later ones, and engines that ask for linear layers only, pass it by, unless it is an
    attention module alone: that means its keys and values, and transformers stops. An embedding is given the scheme of
    linear layers by vLLM and transformers, and both stop.

    Example: the target ``re:.*self_attn.*``, which matches ``model.layers.0.self_attn``.

    Fix: match linear layers only: ``re:.*self_attn\\.._proj$``.
    """
    checkpoint, groups = context.checkpoint, targets_by_group(context.block)
    if checkpoint is None or context.dialect is None or context.dialect.keys.groups is None:
        return
    listed = [entry for key in registry.skip_keys(context.dialect) for entry in texts(context.section.block.get(key))]
    skipped = Selector.of(_sound(listed))
    modules = [name for name in _around(context) if not skipped.matches(name)]
    for group, targets in groups.items():
        if context.block[context.dialect.keys.groups][group].get("weights") is None:
            continue
        for target in _sound(targets):
            matched = [name for name in modules if target.matches(name)]
            alone = next((name for name in matched if _is_attention_alone(context, target, name)), None)
            table = next((name for name in matched if names.last_part(name) == _EMBEDDING), None)
            if matched:
                message = f"a target matches {alone or table or matched[0]}, which is no linear layer"
                place, found = "config.json", target.text
                fault = Fault("target-container", message, place, group, "linear layers only", found)
                yield Observation.of(
                    fault,
                    variant="attention" if alone else "embedding" if table else None,
                    severity=Severity.WARNING if alone or table else None,
                )


def _is_attention_alone(context: Context, target: Pattern, name: str) -> bool:
    """Whether a target means attention, and nothing above or below it: then weights are none of its business."""
    if context.checkpoint is None or name not in context.checkpoint.attention_modules:
        return False
    below = (module for module in context.linear_names if module.startswith(f"{name}."))
    return not target.matches(names.parent(name)) and not any(map(target.matches, below))


def _around(context: Context) -> list[str]:
    """What is no linear layer, of modules that are alike one: owners of linear layers, activations, and norms."""
    found: dict[str, None] = {}
    for kind in context.linear_kinds:
        owner = names.parent(kind)
        if names.last_part(kind) in _AFTER_ACTIVATION:
            found[names.join(owner, "act_fn")] = None
        while owner and owner not in found:
            found[owner] = None
            owner = names.parent(owner)
    plain = context.checkpoint.plain if context.checkpoint is not None else ()
    norms = {
        names.generalise(tensor.module): tensor.module
        for tensor in plain
        if len(tensor.shape) == 1 or names.last_part(tensor.module) == _EMBEDDING
    }
    linear = frozenset(context.linear_names)
    return [name for name in (*found, *norms.values()) if name not in linear]


def _sound(entries: Iterable[str]) -> Iterator[Pattern]:
    """Entries as patterns, without those that may take forever."""
    for entry in entries:
        if not (entry.startswith("re:") and may_run_away(entry.removeprefix("re:"))):
            yield regex_or_exact(entry)
