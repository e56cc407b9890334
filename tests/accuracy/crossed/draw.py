"""Draws the fourth set: ``python -m tests.accuracy.crossed.draw`` writes ``crossed.json`` anew.

Each kind of change is drawn at most once: candidates come in the order of a hash of their names and the seed, and of
those that count the one is taken whose format and architecture were drawn least so far. A crossing counts where the
change applies to the base, changes tensors and configs alike where it did so at first, and changes files into such as
nothing in the corpus has; where every key that it changes or takes away is in the base's config, and in a quantization
config has the value that it had; and where engines load the base rightly.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

from tests.accuracy import corpus as known_corpus
from tests.accuracy.corpus import FIXTURES, MEANT, NO_MODEL, OWN_VALUES, Files, corpus
from tests.accuracy.crossed import DRAWN
from tests.accuracy.crossed.meaning import DROPPED, FORBIDS, MEANINGLESS, NEEDS, OF_FORMAT, SHARDED
from tests.accuracy.crossed.sources import Source, sources
from tests.accuracy.held import OWN
from tests.accuracy.held.common import SIDE
from tests.accuracy.records import RIGHT, digest, records
from tests.accuracy.variants import VARIANTS
from tests.damage import MutableCheckpoint, opened

SEED = 20261130
#: So many are drawn, and so many candidates are looked at for each kind.
COUNT, CANDIDATES, TRIES = 225, 8, 200
#: Engines that have to load a base rightly, two of them.
_ASKED = ("vllm-0.32.0", "sglang-0.5.23", "transformers-5.16.1")
#: Keys whose values differ between exports that mean the same.
_LOOSE = frozenset(
    {"version", "producer", "name", "format", "ignore", "exclude", "ignored_layers", "targets", "export"}
)
_LOOSE_TOO = frozenset({"modules_to_not_convert", "exclude_modules", "observer", "global_compression_ratio"})
#: Fixtures that are about other things than FP8, or that change what is meant.
_NO_BASE = re.compile(r".*(bf16|nvfp4|mxfp8|fake|groups).*")
#: Sound checkpoints of the other sets.
_SOUND = re.compile(
    r"again/hub/.*|reported/(kv/usual|served-router/listed|served-cache/modelopt|served-tower/left-alone)/.*"
    r"|variant/(kv-scales/.*|(in-config|in-file)/as-exported/.*)|held/model/[a-z].*"
)
_MISSING = object()


class Facts(NamedTuple):
    """What a change does: the tensors that it touches, whether new ones are all beside a layer, the paths of the
    config that it changes and their values before, and the other files that it touches."""

    tensors: frozenset[str]
    beside: bool
    paths: dict[tuple[str, ...], Any]
    files: frozenset[str]


class Drawn(NamedTuple):
    """A crossing that counts."""

    source: str
    base: str
    format: str
    architecture: str
    code: str


def _order(*words: str) -> str:
    return sha256("\0".join((str(SEED), *words)).encode()).hexdigest()


@cache
def bases() -> tuple[str, ...]:
    """What changes are made to: a fixture, a conversion, a sound checkpoint of another set, or a small model."""
    seen = {f"{r.engine}-{r.version}": r.loads for r in records()}

    rightly = Counter(load.digest for key in _ASKED for load in seen[key].values() if load.outcome == RIGHT)

    def right(name: str) -> bool:
        loads = (seen[key].get(name) for key in _ASKED)
        code = next((load.digest for load in loads if load is not None), None)
        return rightly[code or digest(_raw(name))] >= 2

    found = [name for name in FIXTURES if right(f"real/{name}") and not _NO_BASE.fullmatch(name)]
    for entry in corpus().values():
        sound = _SOUND.fullmatch(entry.id) or (entry.kind == "converted" and not _NO_BASE.fullmatch(entry.id))
        if sound and (entry.kind == "variant" or entry.id in seen[_ASKED[0]]) and right(entry.id):
            found.append(entry.id)
    models = {source.base for source in sources().values() if source.base.startswith("drawn/")}
    return (*found, *sorted(models))


@cache
def _raw(base: str) -> Files:
    return known_corpus.based_on(base).to_files()


def based_on(base: str) -> MutableCheckpoint:
    """A base, ready to be changed."""
    return opened(_raw(base))


def format_of(checkpoint: MutableCheckpoint) -> str:
    """The format, how scales are shared, and whether the cache has some; small models have none yet."""
    block = checkpoint.config.get("quantization_config")
    if block is None and SIDE not in checkpoint.files:
        return "none"
    tensors = checkpoint.everything()
    name = next(n for n in tensors if re.search(r"(down_proj|o_proj|w2|fc2|out_proj|\w+)\.weight_scale(_inv)?$", n))
    rows = tensors[re.sub(r"_scale(_inv)?$", "", name)].shape[0]
    extents = [extent for extent in tensors[name].shape if extent != 1]
    grain = "tensor" if not extents else "channel" if extents == [rows] else "block"
    where = "file" if block is None else "own" if "quantization" in block else str(block["quant_method"])
    cache = any(re.search(r"[kv]_scale$|[kv]_proj\.output_scale$", name) for name in tensors)
    return f"{where}-{grain}{'-kv' if cache else ''}"


def _differ(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _differ(before.get(key, _MISSING), after.get(key, _MISSING), (*path, key))
    elif before is not after and before != after:
        yield path, before


def facts(source: Source, base: str) -> tuple[Facts, Files]:
    """What a change does to a base, and the files afterwards. Raises what the change raises."""
    checkpoint, before = based_on(base), based_on(base)
    source.change(checkpoint)
    old, new = before.everything(), checkpoint.everything()
    tensors = frozenset(name for name in {*old, *new} if old.get(name) != new.get(name))
    added = [name for name in new if name not in old]
    beside = all(any(f"{'.'.join(name.split('.')[:-n])}.weight" in old for n in (1, 2, 3)) for name in added)
    side = frozenset(
        name for name in {*before.files, *checkpoint.files} if before.files.get(name) != checkpoint.files.get(name)
    )
    paths = dict(_differ(before.config, checkpoint.config))
    return Facts(tensors, beside, paths, side), checkpoint.to_files()


def _at(config: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        config = config.get(key, _MISSING) if isinstance(config, dict) else _MISSING
    return config


def _means_the_same(first: Facts, here: Facts, base: str) -> bool:
    """Whether a change does to a base what it did at first."""
    checkpoint = based_on(base)
    if (bool(first.tensors), bool(first.paths), first.beside) != (bool(here.tensors), bool(here.paths), here.beside):
        return False
    if any(name == SIDE and (name in here.files) != (name in first.files) for name in first.files):
        return False
    for path, value in first.paths.items():
        found = _at(checkpoint.config, path)
        if value is not _MISSING and found is _MISSING:
            return False
        loose = {*path} & (_LOOSE | _LOOSE_TOO) or isinstance(value, (list, dict))
        if value is not _MISSING and path[0] == "quantization_config" and not loose and found != value:
            return False
    return True


@cache
def _labels(base: str) -> tuple[str, str, str]:
    """A base's format, architecture, and the method that its config names."""
    checkpoint = based_on(base)
    block = checkpoint.config.get("quantization_config") or {}
    return format_of(checkpoint), str(checkpoint.config.get("architectures")), str(block.get("quant_method"))


def _fits(kind: str, base: str) -> bool:
    """Whether a base has what a kind is about."""
    checkpoint = based_on(base)
    names = checkpoint.everything()
    has = all(any(re.fullmatch(name, n) for n in names) for k, name in NEEDS if re.fullmatch(k, kind))
    lacks = not any(re.fullmatch(name, n) for k, name in FORBIDS if re.fullmatch(k, kind) for n in names)
    words = " ".join(_labels(base))
    fits = all(re.fullmatch(word, words) for k, word in OF_FORMAT if re.fullmatch(k, kind))
    return has and lacks and fits and (len(checkpoint.shards) > 1 or not re.fullmatch(SHARDED, kind))


def crossings(kind: str, changes: dict[str, Source], known: set[str]) -> Iterator[Drawn]:
    """Crossings of a kind that count, in the order of their hash."""
    pairs = [
        (name, base)
        for name, source in changes.items()
        for base in bases()
        if base.startswith("drawn/") == source.base.startswith("drawn/") and base != source.base
    ]
    at_first: dict[str, Facts] = {}
    for name, base in sorted(pairs, key=lambda pair: _order(*pair))[:TRIES]:
        source = changes[name]
        label, architecture, method = _labels(base)
        if (label, architecture, method) == _labels(source.base):
            continue
        try:
            first = at_first[name] = at_first.get(name) or facts(source, source.base)[0]
            of_config = any(path[0] == "quantization_config" for path in first.paths) or SIDE in first.files
            if (of_config and method != _labels(source.base)[2]) or not _fits(kind, base):
                continue
            renamed = ("quantization_config", "quant_method") in first.paths and not base.startswith("drawn/")
            if renamed and label.split("-")[-1] != _labels(source.base)[0].split("-")[-1]:
                continue
            here, files = facts(source, base)
        except (AssertionError, LookupError, ValueError, TypeError, StopIteration, AttributeError, RuntimeError):
            continue
        code = digest(files)
        if code not in known and files != _raw(base) and _means_the_same(first, here, base):
            yield Drawn(name, base, label, architecture, code)


def _named(kind: str, base: str) -> str:
    return f"{kind}/{re.sub(r'^(again/hub|drawn|real|converted)/', '', base).replace('/', '-')}"


def _meant(source: str, change: Source, base: str) -> str | None:
    if change.own or source.removeprefix("defect/") in OWN_VALUES:
        return OWN
    return {f"variant/{v.name}": v.fixture for v in VARIANTS if not v.own}.get(base)


def draw() -> list[tuple[str, str, str, str | None]]:
    """The set."""
    changes = {
        name: source
        for name, source in sources().items()
        if name not in NO_MODEL and name.removeprefix("defect/") not in MEANT
    }
    known = {seen.digest for r in records() for name, seen in r.loads.items() if not name.startswith("crossed/")}
    kinds: dict[str, dict[str, Source]] = {}
    for name, source in changes.items():
        if not any(re.fullmatch(pattern, source.kind) for pattern in MEANINGLESS):
            kinds.setdefault(source.kind, {})[name] = source
    formats: Counter[str] = Counter()
    architectures: Counter[str] = Counter()
    used: Counter[str] = Counter()
    rows: list[tuple[str, str, str, str | None]] = []
    for kind in sorted(kinds, key=_order):
        found: list[Drawn] = []
        for drawn in crossings(kind, kinds[kind], known):
            found.append(drawn)
            if len(found) == CANDIDATES:
                break
        if not found:
            continue

        def often(drawn: Drawn) -> tuple[int, str]:
            times = formats[drawn.format] + 2 * architectures[drawn.architecture] + 8 * used[drawn.base]
            return times, _order(drawn.source, drawn.base)

        one = min(found, key=often)
        used[one.base] += 1
        formats[one.format] += 1
        architectures[one.architecture] += 1
        known.add(one.code)
        print(len(rows), kind, one.base, flush=True)
        rows.append((_named(kind, one.base), one.source, one.base, _meant(one.source, changes[one.source], one.base)))
        if len(rows) == COUNT:
            break
    print(formats, architectures, sep="\n")
    return sorted(row for row in rows if row[0] not in DROPPED)


def main() -> None:
    """Write the file."""
    lines = [json.dumps(row) for row in draw()]
    DRAWN.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
