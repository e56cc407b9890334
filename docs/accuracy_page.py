"""``docs/accuracy.md``: how often verdicts were right, from what was recorded in ``tests/accuracy/recorded``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

RECORDED = Path(__file__).resolve().parents[1] / "tests" / "accuracy" / "recorded"
#: What was said of held-out checkpoints before any engine had loaded one, and what engines first did, in the folder of
#: each set: id -> digest, day, verdict by release, outcome by release.
FIRST = "first.json"
#: What a verdict says of an outcome; "unknown" and "not judged" say nothing.
MEANS = {
    "loads": ("right",),
    "slow": ("right",),
    "warns": ("wrong",),
    "silently wrong": ("wrong",),
    "refuses": ("refuses",),
    "does not read": ("refuses", "wrong"),
}
_LABELS = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "transformers": "transformers",
    "llamacpp": "llama.cpp",
    "quark": "Quark",
}
_INTRODUCTION = """\
# How often verdicts are right

Made by `make docs` from `tests/accuracy/recorded`. Each checkpoint of a corpus was given to the engines themselves, and
what they did is compared with the verdict of `ckptkit validate --matrix` at level full:

- **refuses**: the engine raises while it reads the config, builds the model, loads weights or, for transformers and
  Quark, answers.
- **wrong**: it loads, and some parameter is not what the checkpoint means: never filled, filled with codes that nobody
  multiplies, or more than 2 % away from the dequantized weights of the sound checkpoint. In transformers and in Quark
  logits are compared: those of the sound checkpoint in the same scheme are met within 0.1 %; where there is none, each
  layer gives what the plain one gives for the same inputs, but for what rounding these to FP8 does. In llama.cpp it is
  the numbers of the GGUF, and whether they have the sizes that its metadata gives.
- **right**: neither.

"Silently wrong" and "warns" both say wrong, "slow" says right. vLLM is its CPU wheel and stops before kernels; SGLang's
own classes run with stand-ins for its GPU packages; both load every weight. transformers' own FP8 quantizer goes the
way that it goes on a GPU, with its kernels' products taken in plain torch; a config that names a class without a head
is loaded with that class. llama.cpp is its converter, which writes a GGUF without a vocabulary; b8643 is the older of
two builds. Quark is its own importer, which was given the checkpoints of its two dialects. What needs a GPU to show
(kernels, hardware formats) is not measured.
The corpus is `tests/accuracy/corpus.py`: real exports, the damages and near misses that rules
are tested with, one tensor changed, other schemes, kinds of public reports, one fault in many formats and
architectures, what was held out at first (see below), and ckptkit's own conversions. Different ids with the same files
count once. Checkpoints whose loading the environment lacks something for (an image library, a kernel for four bits on a
CPU, Quark beside the second release of transformers) are left out as *not tried*. A few damages and near misses of
rules are no loads at all, and in no row: configs that no model can be built from or that are of another architecture,
models of hundreds of experts, and near misses with nothing sound to compare them with (`corpus.py` names each).
Verdicts on the second releases are those that ranges of releases give, of the engine's own or of the library beside it.

Repeat it with `python -m tests.accuracy vllm-0.32.0` (and `--again`); `python -m tests.accuracy` takes the verdicts
anew.
"""
_HELD_OUT = """\
## Held out

The figures above are on a corpus that rules and the engines' data were mended with. How often a verdict is right on a
checkpoint that is new is said by sets that were written without looking at an engine: verdicts on all of a set were
committed before any engine had loaded one (`first.json` beside it), and are kept as they were. Since then what was
wrong has been mended, and all of these checkpoints count above as everything else.
"""
#: Of a head that is neither stored nor tied.
_HEAD = "nothing: it takes the embedding for the head, and nobody knows which head was meant"
#: Of a cache whose scales are declared and not stored.
_NO_SCALES = "nothing: whether scales were lost, or the 1.0 that stands in was meant, is not known"
_ONES = "nothing: input scales of 1.0 that no calibration gave may be what was meant"
_ONE_VALUE = "nothing: one value for all rows may be what was meant"
#: The folder of a set -> what is said of it; ``count`` and ``days`` are those of its file.
_SETS = {
    "held": """\
### The first set

{count} checkpoints (`tests/accuracy/held`), written on {days}: other names and patterns in skip lists, older, newer and
careless configs, scales of other shapes, types and values, KV scales, architectures without a fixture, prefixes,
stacked experts, tied heads and incomplete files. What a checkpoint means was put right after the first loads for 30 of
them, whose scales in doubles were not read, whose config declares other inputs than the fixture's, or that the
fixture's names do not tell; they were loaded once more, and not judged again.
""",
    "again": """\
### The second set

{count} checkpoints (`tests/accuracy/again`), written on {days}, after the first set had been mended: quantization
configs as the Hub has them on small models of 32 architectures (latent attention, shared experts, state spaces, linear
attention, vision, layers that predict), and what people do by hand: adapters folded in, two exports merged, configs of
other exports, other prefixes and names, scales cast, turned and dropped, heads tied, sections, shards and lists.
Verdicts on 404 were committed before any load. vLLM then loaded ten of them and the models in BF16, by which configs
were seen to lack keys that public ones of their classes have, or heads to be untied that are not; the set was cut to
these {count} for time, and after all loads 64 of them lacked further keys. What had changed was judged again by the
same code, which nothing had been mended in, and loaded once more. What a checkpoint means was put right for eight, and
so was what counts as not tried, and which scales of a cache need not be stored in SGLang's latent attention. llama.cpp
was asked later, and is in no row here.
""",
    "reported": """\
### The third set

{count} checkpoints (`tests/accuracy/reported`), written on {days}, after the second set had been mended, from some 130
public threads (each is named where its checkpoint is made): what people report to serving engines and to tools that
write, merge, rename and read checkpoints, on small models of 40 architectures, with near misses. It was written without
a look at any verdict or at the engines' data. Verdicts were committed before any load of the set; before it vLLM had
loaded the new small models in BF16. After the first loads what a checkpoint means was put right for three; 18 were made
differently (scales of a cache in models without experts, where the measure sees them, and a key that public configs of
Qwen2-VL have), judged again by the same code, and loaded once more. llama.cpp was asked with the measure as it was put
right in the meantime (layers of several kinds).
""",
    "crossed": """\
### The fourth set

{count} checkpoints (`tests/accuracy/crossed`), written on {days}, after the third set had been mended, to see whether
what had been mended were kinds: each kind of change of the other sets, of the variants, and of the defects and damages
that rules are tested with, made once to a checkpoint of another format or architecture, which a fixed seed chose among
fixtures, conversions and small models. A crossing counts where the change does there what it did at first, and where
the checkpoint still means something; those that do not were dropped when the set was read (`meaning.py` says which, and
why). Verdicts were committed before any load. After the first loads two crossings were dropped, one that overwrites
scales of inputs and one whose wrong weight no answer tells; what vLLM had not tried for lack of time was loaded
again.
""",
}
#: (engine, pattern of ids, plan): what will be done about a verdict that is wrong. The first that fits counts.
PLANS: tuple[tuple[str, str, str], ...] = (
    ("quark", "held/files/stored-twice-otherwise/*", "nothing: which copy counts is drawn for every process"),
    ("quark", "real/llama/quark-fp8-fake", "a reader for what it exports in other ways than packed FP8"),
    ("*", "near/CK206-2", "nothing: whether a release has a class that nobody knows is unknown"),
    ("*", "*/int8-quark", "a reader for other storages than FP8: nothing is judged by its scheme alone"),
    ("llamacpp", "variant/names-of-meta/*", "nothing: in whose order queries and keys are stored is told by no name"),
    ("llamacpp", "defect/CK113-2", _HEAD),
    ("llamacpp", "held/missing/head/*", _HEAD),
    ("llamacpp", "held/tied/not-said/*", _HEAD),
    ("llamacpp", "held/prefix/none-of-a-base-model/*", _HEAD),
    ("*", "*/CK631-*", "nothing: what such a pattern matches is not known without running it"),
    ("sglang", "held/config/algo-mixed", "nothing: what it makes of such a config hangs on the sizes of layers"),
    ("sglang", "again/tied/head-in-fp8/*", "nothing: the head that is dropped may be another than the embedding"),
    ("*", "held/config/*kv*-without-scales/*", _NO_SCALES),
    ("*", "*/CK911-1", _NO_SCALES),
    ("*", "report/kv-scheme-without-scales", _NO_SCALES),
    ("*", "crossed/defect/CK901/*", _NO_SCALES),
    ("*", "*/kv/gone/*", _NO_SCALES),
    ("*", "again/kv/declared-alone/*", _NO_SCALES),
    ("*", "again/merge/config/kv-on-none", _NO_SCALES),
    ("*", "*/uncalibrated/ones/*", _ONES),
    ("transformers", "defect/CK506-1", _ONES),
    ("transformers", "held/config/strategy-says-channel", _ONE_VALUE),
    ("transformers", "again/merge/config/ct-on-ct-tensor", _ONE_VALUE),
    ("transformers", "again/merge/layer/*", _ONE_VALUE),
    ("transformers", "variant/dtype/*", "nothing: whether another type is given when loading, no file says"),
    (
        "transformers",
        "reported/stacked-layers/not-said/*",
        "nothing: whether the layers that are stored are meant, or their count in the config, no file says",
    ),
)


class Load(NamedTuple):
    """One line of a record."""

    id: str
    outcome: str
    said: str
    words: str

    @property
    def agrees(self) -> bool | None:
        """Whether the verdict was right; None where it was none."""
        return self.outcome in MEANS[self.said] if self.said in MEANS else None


def read() -> Iterator[tuple[dict[str, Any], list[Load]]]:
    """Every record: its head, and what was tried."""
    for path in sorted(RECORDED.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        loads = [Load(name, row[1], row[2], row[3]) for name, row in document.pop("loads").items()]
        yield document, loads


def render_accuracy_markdown() -> str:
    """The whole page."""
    found = list(read())
    columns = ("engine", "release", "with", "loads tried", "right", "wrong", "unknown", "not tried", "recorded")
    lines = [_INTRODUCTION, f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for head, loads in found:
        tried = [load for load in loads if load.outcome != "untried"]
        counts = [sum(load.agrees is answer for load in tried) for answer in (True, False, None)]
        beside = ", ".join(
            f"{name} {version}" for name, version in sorted(head["bundles"].items()) if name != head["engine"]
        )
        label = f"{_LABELS[head['engine']]} | {head['version']} | {beside}"
        lines.append(
            f"| {label} | {len(tried)} | {' | '.join(map(str, counts))} | {len(loads) - len(tried)} | {head['date']} |"
        )
    lines += ["", *_held_out(), "## By what was done", "", *_by_kind(found), ""]
    for head, loads in found:
        lines += _wrong(f"{_LABELS[head['engine']]} {head['version']}", head["engine"], loads)
    return "\n".join(lines).rstrip() + "\n"


def _held_out() -> Iterator[str]:
    """The verdicts that were given before any engine had loaded what they are on, and what engines first did."""
    yield _HELD_OUT
    for folder, text in _SETS.items():
        yield from _set(json.loads((RECORDED.parent / folder / FIRST).read_text(encoding="utf-8")), text)


def _set(first: Mapping[str, list[Any]], text: str) -> Iterator[str]:
    yield text.format(count=len(first), days=" and ".join(sorted({row[1] for row in first.values()})))
    yield "| engine | release | loads tried | right | wrong | unknown | not tried | right of those judged |"
    yield f"|{'---|' * 8}"
    parts: dict[str, dict[str, list[bool | None]]] = {}
    releases = sorted({release for row in first.values() for release in row[3]})
    for release in releases:
        engine, _, version = release.rpartition("-")
        answers: list[bool | None] = []
        untried = 0
        for name, (_, _, verdicts, outcomes) in first.items():
            if outcomes.get(release) == "untried":
                untried += 1
            elif release in outcomes:
                answers.append(Load(name, outcomes[release], verdicts[release], "").agrees)
                parts.setdefault(name.split("/")[1], {}).setdefault(release, []).append(answers[-1])
        counts = [answers.count(answer) for answer in (True, False, None)]
        share = f"{100 * counts[0] / (counts[0] + counts[1]):.1f} %"
        cells = (_LABELS[engine], version, len(answers), *counts, untried, share)
        yield f"| {' | '.join(map(str, cells))} |"
    yield ""
    yield "Wrong of those tried, by what the checkpoints are about:"
    yield ""
    yield f"| kind | {' | '.join(_label(release) for release in releases)} |"
    yield f"|---|{'---|' * len(releases)}"
    for part, by_release in sorted(parts.items()):
        shown = [by_release.get(release, []) for release in releases]
        if any(False in some for some in shown):
            yield f"| {part} | {' | '.join(f'{some.count(False)} of {len(some)}' for some in shown)} |"
    yield ""
    clean = sorted(part for part, found in parts.items() if not any(False in some for some in found.values()))
    if clean:
        yield from wrap(f"Of these none was wrong: {', '.join(clean)}.", 120, break_on_hyphens=False)
        yield ""


def _label(release: str) -> str:
    """An engine's name and its release, as columns are headed."""
    engine, _, version = release.rpartition("-")
    return f"{_LABELS[engine]} {version}"


def _by_kind(found: Iterable[tuple[dict[str, Any], list[Load]]]) -> Iterator[str]:
    yield "Right of all that were tried, for each kind of checkpoint."
    yield ""
    table: dict[str, dict[str, tuple[int, int]]] = {}
    names = []
    for head, loads in found:
        name = _label(f"{head['engine']}-{head['version']}")
        names.append(name)
        for load in loads:
            if load.outcome != "untried":
                kind = table.setdefault(load.id.partition("/")[0], {})
                right, tried = kind.get(name, (0, 0))
                kind[name] = right + (load.agrees is True), tried + 1
    yield f"| kind | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for kind in sorted(table):
        cells = [f"{table[kind][name][0]} of {table[kind][name][1]}" if name in table[kind] else "-" for name in names]
        yield f"| {kind} | {' | '.join(cells)} |"


def _wrong(label: str, engine: str, loads: Iterable[Load]) -> Iterator[str]:
    loads = [load for load in loads if load.outcome != "untried" and load.agrees is not True]
    if not loads:
        return
    yield f"## {label}: wrong or unknown"
    yield ""
    yield "| checkpoint | we said | it did | its words | plan |"
    yield "|---|---|---|---|---|"
    for load in loads:
        words = load.words.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")[:110]
        yield f"| `{load.id}` | {load.said or 'nothing'} | {load.outcome} | {words} | {plan_for(engine, load.id)} |"
    yield ""


def plan_for(engine: str, name: str) -> str:
    """What will be done about a verdict that is wrong, or none."""
    return next((plan for who, ids, plan in PLANS if fnmatch(engine, who) and fnmatch(name, ids)), "")
