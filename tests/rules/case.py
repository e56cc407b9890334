"""How a rule is tested: a fixture, a damage that must bring the rule's code, and a near miss that must not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ckptkit.checks import runner
from ckptkit.checks.context import Context
from ckptkit.checks.registry import Level
from ckptkit.checks.runner import Report
from ckptkit.storage.container import open_container
from tests.damage import Damage, MutableCheckpoint, load
from tests.raw import MemorySource


def context_of(checkpoint: MutableCheckpoint) -> Context:
    """What rules see of a checkpoint, without a disk."""
    return runner.read_context(open_container(MemorySource(checkpoint.to_files())))


def report(checkpoint: MutableCheckpoint, level: Level = Level.SCALES) -> Report:
    """What the rules say."""
    return runner.run(context_of(checkpoint), level)


def codes(checkpoint: MutableCheckpoint, level: Level = Level.SCALES) -> frozenset[str]:
    """The rules that fire."""
    return frozenset(finding.code for finding in report(checkpoint, level).findings)


@cache
def base_codes(fixture: str, level: Level) -> frozenset[str]:
    """What is found in the fixture itself."""
    return codes(load(fixture), level)


@dataclass(frozen=True)
class Case:
    """One rule, tested in both directions: ``fires`` must bring its code, ``near`` must not.

    ``also`` lists further codes that the same damage rightly brings: consequences, not false alarms; ``near_also``
    those of the near miss. ``given`` is done to the fixture first, and what it brings does not count.
    """

    code: str
    base: str
    fires: Damage
    near: Damage
    also: frozenset[str] = frozenset()
    near_also: frozenset[str] = frozenset()
    level: Level = Level.SCALES
    given: Damage | None = None

    def before(self) -> MutableCheckpoint:
        """The fixture as both directions find it."""
        checkpoint = load(self.base)
        if self.given is not None:
            self.given(checkpoint)
        return checkpoint

    def new_codes(self, damage: Damage) -> frozenset[str]:
        """The codes that a damage brings to what was there before."""
        after = self.before()
        damage(after)
        known = base_codes(self.base, self.level) if self.given is None else codes(self.before(), self.level)
        return codes(after, self.level) - known
