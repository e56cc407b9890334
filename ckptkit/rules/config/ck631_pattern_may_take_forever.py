"""CK631 pattern-may-take-forever, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.engines import targets
from ckptkit.engines.matchers import Style
from ckptkit.engines.registry import readings_for
from ckptkit.errors import Fault
from ckptkit.formats import registry
from ckptkit.formats.dialect import texts
from ckptkit.model.backtracking import may_run_away
from ckptkit.model.select import Regex

#: Styles that take every entry for a regular expression, without a mark in front.
_BARE = (Style.PREFIX_OR_SUFFIX,)


@rule(
    "CK631",
    "pattern-may-take-forever",
    Severity.ERROR,
    unreported="a security check: such a pattern stops whoever reads the checkpoint",
)
def pattern_may_take_forever(context: Context) -> Iterator[Fault]:
    """A regular expression of a skip list or a target has a form whose matching may never end.

    Why it hurts: every reader tries it on every module's name. Where one text can be cut into the pattern's parts in
    many ways, the ways double with each character, and the load hangs without a word. Nothing here runs it.

    Example: ``re:([a-z_.0-9]+)+!``, a repeat inside a repeat.

    Fix: write the pattern without repeats inside repeats, such as ``re:[a-z_.0-9]+!``, or list exact names.
    """
    listed = [entry for key in registry.skip_keys(context.dialect) for entry in texts(context.section.block.get(key))]
    words = [word for target in targets.targets_by_group(context.block).values() for word in target]
    patterns = dict.fromkeys(word.removeprefix("re:") for word in (*listed, *words) if word.startswith("re:"))
    if context.dialect is not None and any(r.style in _BARE for r in readings_for(context.dialect.key).values()):
        patterns.update(dict.fromkeys(entry for entry in listed if not entry.startswith("re:")))
    faults = [*context.faults("pattern-slow"), *(Regex(text).slow() for text in patterns if may_run_away(text))]
    yield from dict.fromkeys(faults)
