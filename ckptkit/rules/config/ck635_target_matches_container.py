"""CK635 target-matches-container."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import OnConversion, rule
from ckptkit.engines.targets import targets_by_group
from ckptkit.errors import Fault
from ckptkit.formats import registry
from ckptkit.formats.dialect import texts
from ckptkit.model import names
from ckptkit.model.backtracking import may_run_away
from ckptkit.model.select import Pattern, Selector, regex_or_exact


@rule(
    "CK635",
    "target-matches-container",
    Severity.INFO,
    conversion=OnConversion.FIXED,
    unreported="found by loading groups of the usual patterns with two releases of compressed-tensors",
)
def target_matches_container(context: Context) -> Iterator[Fault]:
    """A target of a group that quantizes weights matches modules around linear layers, such as attention itself.

    Why it hurts: older releases of compressed-tensors apply the group to every module that a target matches, and stop
    at one without a weight. Later ones, and engines that ask for linear layers only, pass it by.

    Example: the target ``re:.*self_attn.*``, which matches ``model.layers.0.self_attn``.

    Fix: match what lies below only: ``re:.*self_attn\\..*``.
    """
    checkpoint, groups = context.checkpoint, targets_by_group(context.block)
    if checkpoint is None or context.dialect is None or context.dialect.targets_key is None:
        return
    listed = [entry for key in registry.skip_keys(context.dialect) for entry in texts(context.block.get(key))]
    skipped = Selector.of(_sound(listed))
    modules = [name for name in _containers(context) if not skipped.matches(name)]
    for group, targets in groups.items():
        if context.block[context.dialect.targets_key][group].get("weights") is not None:
            for target in _sound(targets):
                module = next((name for name in modules if target.matches(name)), None)
                if module is not None:
                    message = f"a target matches {module}, which has no weight of its own"
                    yield Fault("target-container", message, "config.json", group, "linear layers only", target.text)


def _containers(context: Context) -> list[str]:
    """The modules around linear layers, of those that are alike one."""
    linear = frozenset(context.linear_names)
    found: dict[str, None] = {}
    for kind in context.linear_kinds:
        owner = names.parent(kind)
        while owner and owner not in found:
            found[owner] = None
            owner = names.parent(owner)
    return [name for name in found if name not in linear]


def _sound(entries: Iterable[str]) -> Iterator[Pattern]:
    """Entries as patterns, without those that may take forever."""
    for entry in entries:
        if not (entry.startswith("re:") and may_run_away(entry.removeprefix("re:"))):
            yield regex_or_exact(entry)
