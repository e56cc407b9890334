"""The checkpoints that verdicts are measured on, each by an id that stays.

``real/...`` are exports of real tools, ``defect/...`` and ``near/...`` what rules are tested with, ``damage/...`` one
tensor changed, ``scheme/...`` fixtures brought into other schemes, ``report/...`` kinds of public reports,
``variant/...`` one kind of fault in many formats and architectures, ``held/...``, ``again/...``, ``reported/...`` and
``crossed/...`` what was judged before any engine had loaded it, and ``converted/...`` what ckptkit makes of fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from ckptkit.checks import runner
from ckptkit.conversion.plan import Plan
from ckptkit.conversion.planner import make_plan
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import CkptkitError
from ckptkit.formats import registry
from ckptkit.operations.stream import stream
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.virtual import VirtualSource
from tests.accuracy.again import AGAIN
from tests.accuracy.again.drawn import model_of
from tests.accuracy.crossed import CROSSED
from tests.accuracy.held import HELD, OWN, Held
from tests.accuracy.reported import REPORTED
from tests.accuracy.reports import REPORTS
from tests.accuracy.variants import VARIANTS
from tests.damage import REAL, Damage, MutableCheckpoint, load, opened
from tests.engines.schemes import SCHEMES
from tests.formats.test_mixed import KINDS, mixed
from tests.raw import MemorySource
from tests.rules.cases import CASES
from tests.rules.test_mutations import MUTATIONS

Files = dict[str, bytes]
FIXTURES = sorted(str(path.parent.relative_to(REAL)) for path in REAL.glob("*/*/config.json"))
#: One export of each kind, for what is done to one tensor.
DAMAGED = (
    "llama/llmcompressor-dynamic",
    "llama/llmcompressor-fp8-kv",
    "llama/quark-ptpc-kv",
    "llama/quark-fp8-kv",
    "llama/quark-fp8-custom",
    "llama/modelopt-fp8-kv",
    "llama-block-aligned/llmcompressor-block",
    "qwen3_moe/llmcompressor-dynamic",
    "qwen3_moe/modelopt-fp8",
    "mixtral/llmcompressor-dynamic",
)
#: Near misses that no machine of a usual size can load: what config.json leaves out takes the default of a model with
#: hundreds of experts, or of another architecture.
TOO_LARGE = frozenset({"near/CK312-1", "near/CK312-2", "near/CK312-4", "near/CK312-5"})
#: Whose configs no model class can be built from: they are about one key, and hold little else.
NO_MODEL = frozenset(
    {
        *("defect/CK113-3", "near/CK113-3", "defect/CK312-7", "near/CK312-7", "near/CK408-1"),
        *("defect/CK625-1", "near/CK625-1", "near/CK633-2"),
    }
)
#: Near misses of rules about sizes, with keys of architectures that theirs is not: they say nothing about loads.
OTHER_KEYS = frozenset({"near/CK312-6", "near/CK312-8", "near/CK312-9", "near/CK632-2", "near/CK632-4"})
#: Near misses that another rule rightly objects to, in a way that their plain model shares: sizes that the config cuts
#: off, grids that are too small, weights that are clipped, and scales that are left out. Nothing is left to compare
#: them with.
NOTHING_SOUND = frozenset({"near/CK304-1", "near/CK702-1", "near/CK702-2", "near/CK805-1", "near/CK901-2"})
#: Damages that replace values on purpose: what is stored is what is meant.
OWN_VALUES = frozenset(
    {
        *("CK507-1", "CK508-1", "CK608-1", "CK610-2", "CK611-1", "CK611-2", "CK613-1", "CK701-1"),
        *("CK315-1", "CK315-2", "CK315-3", "CK402-1"),
        *("CK704-1", "CK705-1", "CK804-1", "CK908-1", "CK912-3"),
    }
)
#: Damages that stand for another fixture than the one that they begin with.
MEANT = {"CK902-1": "real/llama/llmcompressor-fp8", "CK911-1": "real/llama/llmcompressor-dynamic-kv"}
#: Formats that conversions are made into.
TARGETS = ("compressed-tensors", "quark", "fp8", "modelopt", "bf16")
#: Sets that were judged before any engine had loaded one of theirs, by the first part of their ids.
HELD_OUT: dict[str, tuple[Held, ...]] = {"held": HELD, "again": AGAIN, "reported": REPORTED, "crossed": CROSSED}
#: First parts of what a checkpoint of such a set may be based on beside fixtures.
_BASES = ("converted", "again", "reported", "held", "variant")


@dataclass(frozen=True)
class Entry:
    """One checkpoint.

    ``make`` gives its files. ``stands_for`` is the id of the checkpoint that it was made from, its own where the files
    say what is meant; ``requantized`` says whether that was with a loss that shows in its weights.
    """

    id: str
    make: Callable[[], Files]
    stands_for: str
    requantized: Callable[[], bool] = lambda: False

    @cached_property
    def meant(self) -> str:
        """The id of the checkpoint of which an engine that is right makes the same weights."""
        return self.id if self.requantized() else self.stands_for

    @property
    def kind(self) -> str:
        """The first part of the id."""
        return self.id.partition("/")[0]


@cache
def corpus() -> dict[str, Entry]:
    """Every entry by its id."""
    found: dict[str, Entry] = {}
    for part in (_real, _defects, _damages, _schemes, _reports, _variants, _held, _converted):
        for entry in part():
            if entry.id in TOO_LARGE | NO_MODEL | OTHER_KEYS | NOTHING_SOUND:
                continue
            if entry.id in found:
                raise ValueError(f"two entries are called {entry.id}")
            found[entry.id] = entry
    return found


def _real() -> Iterator[Entry]:
    for fixture in FIXTURES:
        yield _itself(f"real/{fixture}", lambda fixture=fixture: load(fixture).to_files())  # type: ignore[misc]


def _itself(name: str, make: Callable[[], Files]) -> Entry:
    return Entry(name, make, name)


def _defects() -> Iterator[Entry]:
    counts: dict[str, int] = {}
    for case in CASES:
        number = counts[case.code] = counts.get(case.code, 0) + 1
        name = f"{case.code}-{number}"
        meant = f"real/{case.base}"
        if case.given is not None:
            meant = f"given/{name}"
            yield _itself(meant, lambda case=case: case.before().to_files())  # type: ignore[misc]
        own = f"defect/{name}" if name in OWN_VALUES else MEANT.get(name, meant)
        yield Entry(f"defect/{name}", _changed(case.before, case.fires), own)
        yield _itself(f"near/{name}", _changed(case.before, case.near))


def _changed(before: Callable[[], MutableCheckpoint], *changes: Damage) -> Callable[[], Files]:
    def make() -> Files:
        checkpoint = before()
        for change in changes:
            change(checkpoint)
        return checkpoint.to_files()

    return make


def _damages() -> Iterator[Entry]:
    """Each kind of damage to the first and the last tensor that it applies to."""
    for fixture in DAMAGED:
        checkpoint = load(fixture)
        for kind, mutation in MUTATIONS.items():
            names = [
                name
                for name, tensor in checkpoint.everything().items()
                if name.endswith(mutation.ending) and mutation.applies(checkpoint, tensor)
            ]
            for place, tensor in zip(("first", "last"), dict.fromkeys((*names[:1], *names[-1:])), strict=False):
                yield Entry(
                    f"damage/{kind.replace(' ', '-')}/{place}/{fixture}",
                    _changed(lambda fixture=fixture: load(fixture), lambda c, m=mutation, t=tensor: m.change(c, t)),  # type: ignore[misc]
                    f"real/{fixture}",
                )


def _schemes() -> Iterator[Entry]:
    for scheme in SCHEMES:
        name = scheme.name.replace(" ", "-").replace(",", "")
        yield _itself(f"scheme/{name}", _changed(lambda base=scheme.base: load(base), scheme.change))  # type: ignore[misc]
    for kind, arguments in KINDS.items():
        yield _itself(f"scheme/beside-{kind.replace(' ', '-')}", lambda given=arguments: mixed(*given).to_files())  # type: ignore[misc]


def _reports() -> Iterator[Entry]:
    for report in REPORTS:
        name = f"report/{report.name}"
        if report.meant is None:
            yield _itself(name, report.make)
        else:
            yield _itself(f"meant/{report.name}", report.meant)
            yield Entry(name, report.make, f"meant/{report.name}")


def _variants() -> Iterator[Entry]:
    for variant in VARIANTS:
        name = f"variant/{variant.name}"
        make = _changed(lambda variant=variant: based_on(variant.fixture), variant.change)  # type: ignore[misc]
        yield Entry(name, make, name if variant.own else _id_of(variant.fixture))


def _held() -> Iterator[Entry]:
    for kind, checkpoints in HELD_OUT.items():
        for held in checkpoints:
            name, meant = f"{kind}/{held.name}", held.base if held.meant is None else held.meant
            make = _changed(lambda base=held.base: based_on(base), held.change)  # type: ignore[misc]
            yield Entry(name, make, name if meant == OWN else _id_of(meant))


def _id_of(base: str) -> str:
    return base if base.startswith(tuple(f"{kind}/" for kind in _BASES)) else f"real/{base}"


def based_on(base: str) -> MutableCheckpoint:
    """A fixture, a conversion, another checkpoint or a small model, to be changed."""
    kind, _, model = base.partition("/")
    if kind == "drawn":
        return model_of(model)
    return opened(corpus()[base].make()) if kind in _BASES else load(base)


def _converted() -> Iterator[Entry]:
    """Every conversion of a fixture that is not refused."""
    for fixture in FIXTURES:
        for target in TARGETS:
            form = registry.by_name(target)
            for mode in (None, *(dialect.mode for dialect in form.dialects if dialect.mode)):
                name = f"converted/{fixture}/{form.name}{f'-{mode}' if mode else ''}"
                asked = (fixture, target, mode)
                yield Entry(
                    name,
                    lambda asked=asked: _written(*asked),  # type: ignore[misc]
                    f"real/{fixture}",
                    lambda asked=asked: _shows(_planned(*asked)[0]),  # type: ignore[misc]
                )


def _planned(fixture: str, target: str, mode: str | None) -> tuple[Plan, Container]:
    """A conversion. Raises CkptkitError where it is refused."""
    container = open_container(MemorySource(load(fixture).to_files()))
    request = ConversionRequest.of(target, mode=mode, allow_lossy=True)
    return make_plan(runner.read_context(container), request), container


def _written(fixture: str, target: str, mode: str | None) -> Files:
    """The files of a conversion."""
    plan, container = _planned(fixture, target, mode)
    source = VirtualSource(plan.output, container.source, stream)
    return {entry.name: source.read(entry.name) for entry in source.files()}


def _shows(plan: Plan) -> bool:
    """Whether a conversion declares a loss of weights that is more than one of rounding to BF16."""
    return any(loss.relative > 2**-7 for loss in plan.losses.values())


def files_of(entry: Entry) -> Files | None:
    """An entry's files; None for a conversion that is refused."""
    try:
        return entry.make()
    except CkptkitError:
        if entry.kind == "converted":
            return None
        raise


def write(files: Files, folder: Path) -> Path:
    """Files as a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
