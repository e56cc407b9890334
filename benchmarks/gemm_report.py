"""The table and the plot of GPU results, from their JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckptkit.kernels.bench import PEAK_FLOPS

OURS, BLOCK, PLAIN = "ckptkit rowwise fast", "ckptkit block", "plain triton rowwise"
_TORCH = ("torch rowwise fast", "torch rowwise slow")
#: From how many tokens on a product is bound by arithmetic, and up to how many by the weights.
_PREFILL, _DECODE = 512, 64
#: TFLOP/s of DeepGEMM's own dense measurements on an H800, whose peak is the same: its README and pull requests.
_DEEPGEMM = (1358, 1500)
_SIZE, _MARGIN = (760, 360), 60
_COLOURS = ("#1b6ca8", "#d1495b", "#3c9d4e", "#8d6cab", "#e08e0b", "#4a4a4a", "#00798c", "#7a5c3e")


def page(document: Mapping[str, Any], source: str) -> str:
    """The whole document page."""
    head = "# The FP8 product on a GPU\n\n"
    head += f"Written by `python -m benchmarks.gemm --docs` from `benchmarks/results/{source}`.\n\n"
    return f"{head}![ratio to torch by tokens](gemm.svg)\n\n{markdown(document)}"


def markdown(document: Mapping[str, Any]) -> str:
    """Versions, summary, and one row for each shape."""
    machine = document["machine"]
    lines = [
        f"{machine['gpu'] or 'no GPU'}, driver {machine['driver']}, CUDA {machine['cuda']}, torch {machine['torch']}, "
        f"Triton {machine['triton']}, {document['date']}; median of {document['clock']}.",
        "",
        *summary(document),
        "",
        "| M | N | K | us | TFLOP/s | TB/s (W) | of the roof | x torch fast | x torch slow | x plain Triton |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        m, n, k = row["shape"]
        ours = row["contenders"].get(OURS)
        if ours is None:
            lines.append(f"| {m} | {n} | {k} | not run: {row['failures'].get(OURS)} |  |  |  |  |  |  |")
            continue
        ratios = [_ratio(row, name) for name in (*_TORCH, PLAIN)]
        share = row["roofline_us"] / ours["median_us"]
        lines.append(
            f"| {m} | {n} | {k} | {ours['median_us']:.1f} | {ours['tflops']:.0f} | {ours['weight_tb_s']:.2f} "
            f"| {share:.0%} | {' | '.join('-' if r is None else f'{r:.2f}' for r in ratios)} |"
        )
    return "\n".join(lines) + "\n"


def summary(document: Mapping[str, Any]) -> list[str]:
    """Geometric means against the better of torch's two accumulations; what block scales reach of the peak."""
    found = []
    for name, low, high in (("prefill", _PREFILL, math.inf), ("decode", 0, _DECODE)):
        rows = [row for row in document["rows"] if low <= row["shape"][0] <= high]
        ratios = [ratio for row in rows if (ratio := _best_ratio(row)) is not None]
        bound = f"M >= {low}" if low else f"M <= {high}"
        if ratios:
            mean = _geometric_mean(ratios)
            text = f"- {name} ({bound}): geometric mean {mean:.2f}x the better of torch fast and slow"
            text += f", {min(ratios):.2f} to {max(ratios):.2f}, over {len(ratios)} shapes"
            found.append(text)
    blocks = [
        row["contenders"][BLOCK]["tflops"]
        for row in document["rows"]
        if row["shape"][0] >= _PREFILL and BLOCK in row["contenders"]
    ]
    if blocks:
        mean = _geometric_mean(blocks)
        shares = [f"{tflops * 1e12 / PEAK_FLOPS:.0%}" for tflops in (mean, *_DEEPGEMM)]
        text = f"- block scales (M >= {_PREFILL}): geometric mean {mean:.0f} TFLOP/s, {shares[0]} of the peak"
        found.append(f"{text}; DeepGEMM publishes {shares[1]} to {shares[2]}")
    ceilings = document["ceilings"]
    if ceilings:
        copy, flops = ceilings["copy_bytes_s"] / 1e12, ceilings["fp8_flops"] / 1e12
        found.append(f"- measured ceilings: {copy:.2f} TB/s copying, {flops:.0f} TFLOP/s in torch at 8192^3")
    return found


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _ratio(row: Mapping[str, Any], other: str) -> float | None:
    """How many times faster we are than another contender."""
    ours, theirs = row["contenders"].get(OURS), row["contenders"].get(other)
    return None if ours is None or theirs is None else float(theirs["median_us"] / ours["median_us"])


def _best_ratio(row: Mapping[str, Any]) -> float | None:
    return min((ratio for name in _TORCH if (ratio := _ratio(row, name)) is not None), default=None)


def plot(document: Mapping[str, Any]) -> str:
    """An SVG: speed relative to the better torch, by tokens, one line for each (N, K)."""
    lines: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for row in document["rows"]:
        ratio = _best_ratio(row)
        if ratio is not None:
            m, n, k = row["shape"]
            lines.setdefault((n, k), []).append((m, ratio))
    width, height = _SIZE
    top = max([1.2, *(ratio for line in lines.values() for _, ratio in line)])
    tokens = sorted({m for line in lines.values() for m, _ in line}) or [1]
    reach = math.log2(tokens[-1]) or 1.0

    def x(m: int) -> float:
        return _MARGIN + (width - 4 * _MARGIN) * math.log2(m) / reach

    def y(ratio: float) -> float:
        return height - _MARGIN - (height - 2 * _MARGIN) * ratio / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        f'<text x="{_MARGIN}" y="24">times faster than torch._scaled_mm (its better accumulation), by tokens</text>',
        f'<line x1="{x(1):.1f}" x2="{x(tokens[-1]):.1f}" y1="{y(1):.1f}" y2="{y(1):.1f}" stroke="#999"/>',
        f'<text x="{_MARGIN - 26}" y="{y(1) + 4:.1f}">1.0</text>',
        *(f'<text x="{x(m) - 8:.1f}" y="{height - _MARGIN + 20}">{m}</text>' for m in tokens),
    ]
    for index, ((n, k), line) in enumerate(sorted(lines.items())):
        colour = _COLOURS[index % len(_COLOURS)]
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{_points(line, x, y)}"/>')
        parts.append(f'<text x="{width - 2.6 * _MARGIN}" y="{60 + 18 * index}" fill="{colour}">N={n} K={k}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _points(line: Iterable[tuple[int, float]], x: Any, y: Any) -> str:
    return " ".join(f"{x(m):.1f},{y(ratio):.1f}" for m, ratio in sorted(line))
