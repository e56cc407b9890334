"""Every change that was made to a checkpoint so far, by the id of the first checkpoint that it was made to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.accuracy.again import AGAIN
from tests.accuracy.held import HELD, OWN
from tests.accuracy.reported import REPORTED
from tests.accuracy.variants import VARIANTS
from tests.damage import Damage, MutableCheckpoint
from tests.rules.cases import CASES
from tests.rules.test_mutations import MUTATIONS, Mutation

#: How names of fixtures begin.
_FIXTURES = ("llama", "qwen", "phi3", "mixtral", "gemma3")


class Source(NamedTuple):
    """A change, what it was first made to, and whether the files then say what is meant; of defects the corpus knows
    that. ``kind`` names it."""

    base: str
    change: Damage
    own: bool
    kind: str


def sources() -> dict[str, Source]:
    """All changes by id."""
    return {name: source for part in (_held, _variants, _defects, _damages) for name, source in part()}


def _held() -> Iterator[tuple[str, Source]]:
    for group, checkpoints in (("held", HELD), ("again", AGAIN), ("reported", REPORTED)):
        for held in checkpoints:
            if held.meant in (None, OWN):
                first, *rest = held.name.split("/")
                kind = f"{first}/{rest[-1] if first == 'hub' else rest[0]}" if len(rest) > 1 else first
                yield f"{group}/{held.name}", Source(held.base, held.change, held.meant == OWN, kind)


def _variants() -> Iterator[tuple[str, Source]]:
    for variant in VARIANTS:
        first, *rest = variant.name.split("/")
        rest = [part.removeprefix(variant.fixture.removeprefix("drawn/")).strip("-") for part in rest]
        known = not rest or not rest[0] or rest[0].startswith(_FIXTURES)
        kind = f"variant/{first if known else f'{first}-{rest[0]}'}"
        yield f"variant/{variant.name}", Source(variant.fixture, variant.change, variant.own, kind)


def _defects() -> Iterator[tuple[str, Source]]:
    counts: dict[str, int] = {}
    for case in CASES:
        number = counts[case.code] = counts.get(case.code, 0) + 1
        name = f"{case.code}-{number}"
        if case.given is None:
            yield f"defect/{name}", Source(case.base, case.fires, False, f"defect/{case.code}")


def _damages() -> Iterator[tuple[str, Source]]:
    for name, mutation in MUTATIONS.items():
        short = name.replace(" ", "-")
        yield f"damage/{short}", Source("llama/llmcompressor-dynamic", _first(mutation), False, f"damage/{short}")


def _first(mutation: Mutation) -> Damage:
    """The damage to the middle one of the tensors that it applies to."""
    applies: Callable[[MutableCheckpoint, str], bool] = lambda checkpoint, name: (  # noqa: E731
        name.endswith(mutation.ending) and mutation.applies(checkpoint, checkpoint.get(name))
    )

    def change(checkpoint: MutableCheckpoint) -> None:
        names = [name for name in checkpoint.everything() if applies(checkpoint, name)]
        mutation.change(checkpoint, names[len(names) // 2])

    return change
