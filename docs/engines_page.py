"""``docs/engines.md``: what engines have, where, and how that is known, from the tables in ``ckptkit/engines``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckptkit.engines.base import Demands, Engine
from ckptkit.engines.gpus import GPUS
from ckptkit.engines.kernels import Kernel
from ckptkit.engines.layers import Layer
from ckptkit.engines.registry import BUILT_IN, engines
from ckptkit.engines.releases import Evidence, Release
from ckptkit.engines.remarks import Remark
from ckptkit.engines.support import Support

_INTRODUCTION = """\
# What engines have

Made by `make docs` from the tables in `ckptkit/engines`, by which `ckptkit validate --matrix` and `ckptkit serve`
judge. A table says what an engine does with a scheme in a kind of layer, for a format and a model class; a second one
what computes it on which hardware. Of the rows of a table that fit a part of a checkpoint, the first counts. **What
no row says is unknown**, and unknown is never taken for "loads".

| word | what it means |
|---|---|
| supported | the engine has it |
| slow | right, on a slower path: weights are dequantized, or inputs stay in high precision |
| refused | it stops; the words are its own |
| silently wrong | it runs, and its numbers are wrong |
| unknown | nobody has looked, or it hangs on more than is known |

Rows are marked *run* where the engine itself was seen doing so, and with the place in its source where that was read.

## Hardware

`--gpu` of `validate` and `serve`, `gpu` in `pyproject.toml` and `ckptkit.validate(..., gpu=...)` take a product or a
capability, written large or small. With it a verdict speaks of that hardware: what the engine has no kernel for is
refused, at every tensor-parallel size, and what nobody looked up is unknown.

"""
_FNUZ = """
The MI300 and the MI325 (gfx942) multiply e4m3fnuz numbers, and the MI355 (gfx950) those that everybody else has.
Engines relabel e4m3fn weights at load there: a code stands for half of what it stood for, so scales are doubled, and
-0, which is NaN in e4m3fnuz, becomes 0. The values stay what they were. A KV cache in e4m3fnuz ends at 240 instead of
448.
"""


def render_engines_markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, *_hardware(), _FNUZ, "\n## Releases\n\n", *_releases()]
    for name in BUILT_IN:
        engine = engines()[name]
        parts += [f"\n## {engine.label}\n", *_engine(engine)]
    return "".join(parts)


def _hardware() -> Iterator[str]:
    yield "| capability | products |\n|---|---|\n"
    for gpu in GPUS:
        names = (f"`{name}`" for name in (*gpu.products, *gpu.others))
        yield f"| `{gpu.capability}` | {', '.join(names) or 'no GPU'} |\n"


def _releases() -> Iterator[str]:
    yield "| engine | release | date | commit | how | tables |\n|---|---|---|---|---|---|\n"
    for name in BUILT_IN:
        engine = engines()[name]
        for release in engine.releases:
            yield f"| {engine.label} | {_release(release)} | {', '.join(release.covers) or 'all'} |\n"


def _release(release: Release) -> str:
    commit = f"`{release.commit[:12]}`" if release.commit else "" if release.version else "unknown"
    return f"{release.version or 'main'} | {release.date} | {commit} | {release.basis}"


def _engine(engine: Engine) -> Iterator[str]:
    unread = "; ".join(f"not `{dialect}`: {reason}" for dialect, reason in engine.unread.items())
    reads = f"Reads {', '.join(f'`{dialect}`' for dialect in sorted(engine.reads))}"
    yield f"\n{reads}{f'; {unread}' if unread else ''}.\n"
    if engine.on_request:
        yield (
            f"\nIt is spoken of on request only (`--for {engine.name}`): what it makes of a checkpoint says nothing of"
            " engines that serve it.\n"
        )
    yield from _demands(engine)
    yield from _groups(engine)
    support = engine.support()
    if support:
        yield "\n| layers | formats | scheme | classes | answer | known by |\n|---|---|---|---|---|---|\n"
        yield from (_row(row) for row in support)
    kernels = engine.kernels()
    if kernels:
        yield "\nOn hardware:\n\n"
        yield "| hardware | layers | formats | scheme | answer | known by |\n|---|---|---|---|---|---|\n"
        yield from (_kernel(row) for row in kernels)
    facts = engine.eager()
    if facts:
        yield "\nWithout CUDA graphs:\n\n"
        for fact in facts:
            where = f" on {_codes(fact.gpus)}" if fact.gpus else ""
            versions = "by itself" if fact.by_itself else str(fact.versions)
            classes = _codes(f"{name}..." for name in fact.architectures)
            yield f"- {classes}{where}, {versions}: {fact.why} ({fact.where})\n"
    remarks = engine.remarks()
    if remarks:
        yield "\nWhat plans of conversions say of it:\n\n| formats | classes | with | what it does | known by |\n"
        yield "|---|---|---|---|---|\n"
        yield from (_remark(row) for row in remarks)


def _demands(engine: Engine) -> Iterator[str]:
    """What an engine stops at whatever the scheme is."""
    alike: dict[Demands, list[str]] = {}
    for dialect, rows in engine.demands().items():
        for demands in rows:
            alike.setdefault(demands, []).append(dialect)
    if alike:
        columns = ("formats", "takes", "throws away", "types that it does not know", "keys that it needs", "releases")
        yield "\nOf what a quantizer stores it takes and throws away these, and stops at any other in any scheme:"
        yield f"\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    for demands, dialects in alike.items():
        formats = _codes(dialect for dialect in dialects if dialect) or "no quantization"
        ends = (_codes(f"*{end}" for end in found) for found in (demands.takes, demands.drops))
        cells = (*ends, _codes(demands.dtypes), _codes(demands.keys))
        yield f"| {formats} | {' | '.join(cell or 'none' for cell in cells)} | {demands.versions} |\n"


def _groups(engine: Engine) -> Iterator[str]:
    """What becomes of several groups where an engine takes one of them."""
    for dialect, one in engine.one_group.items():
        yield f"\nOf several groups of `{dialect}`: {one.others}; without `{one.name}`: {one.without}.\n"


def _remark(row: Remark) -> str:
    cells = (_codes(row.formats) or "any", _codes(f"{name}..." for name in row.architectures) or "any")
    having = row.trait.value if row.trait is not None else ""
    return f"| {' | '.join(cells)} | {having} | {_escaped(row.words)} | {_known(row)} |\n"


def _row(row: Support) -> str:
    classes = _codes(f"{name}..." for name in row.architectures) or "any"
    return f"| {_layers(row)} | {_codes(row.formats)} | {_scheme(row)} | {classes} | {_answer(row)} | {_known(row)} |\n"


def _kernel(row: Kernel) -> str:
    formats = _codes(row.formats) or "all that it reads"
    name = f"{row.answer.value}: {row.name}" if row.name else row.answer.value
    answer = f"{name}. {_escaped(row.words)}" if row.words else name
    return f"| {_codes(row.gpus)} | {_layers(row)} | {formats} | {_scheme(row)} | {answer} | {_known(row)} |\n"


def _layers(row: Support) -> str:
    if set(row.layers) == set(Layer):
        return "all"
    return ", ".join(layer.value.removeprefix("the ") for layer in row.layers)


def _scheme(row: Support) -> str:
    if row.others:
        return ", ".join(row.others)
    if row.layers == (Layer.KV_CACHE,):
        return f"{', '.join(row.weights) or 'any'} scales"
    blocks = f" {', '.join(f'{rows}x{columns}' for rows, columns in row.blocks)}" if row.blocks else ""
    weights = f"{', '.join(row.weights)}{blocks} weights" if row.weights or blocks else "any weights"
    inputs = ", ".join("no" if word == "none" else word for word in row.inputs)
    return f"{weights}, {inputs} inputs" if inputs else weights


def _answer(row: Support) -> str:
    return f"{row.answer.value}. {_escaped(row.words)}" if row.words else row.answer.value


def _known(row: Support | Remark) -> str:
    since = f", {row.versions}" if row.versions is not None else ""
    how = "run" if row.how is Evidence.RUN else _escaped(row.where)
    return f"{how}{since}"


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _escaped(text: str) -> str:
    """Nothing of a table's text is markup: lines and bars of others' words end no cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
