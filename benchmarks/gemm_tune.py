"""Sweep configs on a GPU and write the fastest of each shape into the table that the dispatcher reads."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckptkit.kernels import bench, scaled_mm
from ckptkit.kernels.build import toolkit
from ckptkit.kernels.configs import ACCUMULATE, Accumulate, Config
from ckptkit.kernels.scaled_mm import Operands

_DECODE_LIMIT = 128


def _candidates() -> list[Config]:
    found = []
    for tokens in (16, 32, 64):
        for weights in (64, 128):
            for depth, stages in ((128, 8), (256, 4), (256, 5)):
                if (tokens + weights) * depth * stages <= 220_000:
                    splits = (1, 2, 4, 8)
                    found += [Config("decode", tokens, weights, depth, 4, stages, split_k=s) for s in splits]
    for m, n, depth, warps, stages in (
        *((64, 64, 256, 4, 4), (64, 64, 256, 4, 5), (64, 128, 128, 4, 5), (64, 128, 128, 4, 6)),
        *((64, 256, 128, 4, 3), (64, 256, 128, 4, 4), (128, 64, 128, 4, 6), (128, 64, 256, 4, 3)),
        *((128, 128, 128, 8, 4), (128, 128, 128, 8, 5), (128, 128, 128, 4, 5), (256, 128, 128, 8, 3)),
    ):
        found += [Config("persistent", m, n, depth, warps, stages, group_m=g) for g in (8, 16)]
    for stages in (3, 4):
        found += [Config("persistent", 128, 256, 128, 8, stages, group_m=g, subtile=True) for g in (4, 8, 16)]
    return found


#: What the sweep tries. What wins goes into the table, whose machine code a test reads like that of any other entry.
CANDIDATES = _candidates()


def suits(config: Config, accumulate: Accumulate, operands: Operands) -> bool:
    """Whether a candidate is worth a try: TMA can describe it, tiles are not mostly empty, K is promoted in time."""
    m = operands.sizes[0]
    if scaled_mm.misfit(config, operands, toolkit().torch.bfloat16) is not None:
        return False
    if accumulate == "promoted" and config.block_k > 128:
        return False
    if config.kernel == "decode":
        return m <= _DECODE_LIMIT and config.block_m < 2 * max(m, 16)
    return m > config.block_m // 2


def tune(
    shapes: Sequence[tuple[int, int, int]],
    path: Path,
    device: str,
    clock: bench.Clock,
    candidates: Sequence[Config] = CANDIDATES,
) -> None:
    """Time the candidates at every shape; the fastest becomes the entry for all M up to it."""
    entries: list[dict[str, Any]] = []
    for shape in shapes:
        m, n, k = shape
        kit = toolkit()
        copies = bench.copies_for(kit, *shape)
        sets = bench.inputs(shape, copies, "cpu" if kit.interpreted else "cuda")
        for accumulate in ACCUMULATE:
            times = {}
            for config in candidates:
                if suits(config, accumulate, sets[0]):
                    seconds = _time(config, accumulate, sets, clock)
                    if seconds is not None:
                        times[config] = seconds
            if times:
                best = min(times, key=lambda config: times[config])
                entries.append(
                    {
                        "accumulate": [accumulate],
                        "depends_on_k": False,
                        "only": [n, k],
                        "max_m": m,
                        "config": best.to_json(),
                        "measured_us": round(times[best] * 1e6, 2),
                    }
                )
                print(f"{shape} {accumulate}: {best.name}, best of {len(times)}", flush=True)
        _write(path, device, len(candidates), entries)  # after each shape: a sweep that is cut short is not lost


def _write(path: Path, device: str, tried: int, entries: list[dict[str, Any]]) -> None:
    entries.sort(key=lambda entry: (entry["only"], entry["accumulate"], entry["max_m"]))
    status = f"Measured on {device} by `python -m benchmarks.gemm --tune`: the fastest of {tried} candidates."
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in entries)
    head = f'{{\n  "devices": {json.dumps([device])},\n  "status": {json.dumps(status)},\n  "tuned": [\n'
    path.write_text(f"{head}{lines}\n  ]\n}}\n", encoding="utf-8")


def _time(config: Config, accumulate: Accumulate, sets: Sequence[Operands], clock: bench.Clock) -> float | None:
    """Median seconds, or None where the config cannot be launched (too much shared memory, say)."""
    out_dtype = toolkit().torch.bfloat16
    try:
        once = clock.prepare(lambda copy: scaled_mm.run(sets[copy], config, accumulate, out_dtype), len(sets))
        return statistics.median(once() for _ in range(clock.repetitions))
    except Exception as error:  # one candidate that cannot run must not end a sweep
        print(f"  {config.name} left out: {type(error).__name__}")
        return None
