"""Sweep configs on a GPU and write the fastest right one of each shape into the table that the dispatcher reads."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ckptkit.kernels import bench, scaled_mm
from ckptkit.kernels.build import toolkit
from ckptkit.kernels.configs import ACCUMULATE, Accumulate, Config, use
from ckptkit.kernels.golden import cases, check
from ckptkit.kernels.offline import SPECIALIZED
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import TOKEN_CHANNEL

Shape = tuple[int, int, int]
Variant = tuple[Config, Accumulate]

_DECODE_LIMIT = 128
_MOST_WORKERS = 12


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
    return found + [replace(config, group_m=g) for config in SPECIALIZED for g in (8, 16)]


#: What the sweep tries. What wins goes into the table, whose machine code a test reads like that of any other entry.
CANDIDATES = _candidates()


def suits(config: Config, accumulate: Accumulate, operands: Operands) -> bool:
    """Whether a candidate is worth a try: TMA can describe it, tiles are not mostly empty, K is promoted in time."""
    m = operands.sizes[0]
    if scaled_mm.misfit(config, operands, toolkit().torch.bfloat16) is not None:
        return False
    if accumulate == "promoted" and (config.block_k > 128 or config.specialize):
        return False
    if config.kernel == "decode":
        return m <= _DECODE_LIMIT and config.block_m < 2 * max(m, 16)
    return m > config.block_m // 2


@dataclass
class Table:
    """The table that a sweep writes. ``entries`` are its ``tuned`` list, one for each shape and accumulation."""

    path: Path
    device: str
    candidates: int
    entries: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, committed: Path, device: str, candidates: int) -> Table:
        """Go on with what was written there, or with the committed table, if it is this device's."""
        for known in (path, committed):
            if known.is_file():
                raw = json.loads(known.read_text(encoding="utf-8"))
                if raw["devices"] == [device]:
                    return cls(path, device, candidates, list(raw["tuned"]))
        return cls(path, device, candidates)

    def holds(self, shape: Shape) -> bool:
        """Whether a shape is tuned, in every accumulation."""
        m, n, k = shape
        known = {tuple(e["accumulate"]) for e in self.entries if e["only"] == [n, k] and e["max_m"] == m}
        return known >= {(accumulate,) for accumulate in ACCUMULATE}

    def add(self, shape: Shape, accumulate: Accumulate, config: Config, seconds: float) -> None:
        """The fastest config of a shape, for all M up to it."""
        m, n, k = shape
        entry = {"accumulate": [accumulate], "depends_on_k": False, "only": [n, k], "max_m": m}
        self.entries = [e for e in self.entries if any(e[name] != value for name, value in entry.items())]
        self.entries.append({**entry, "config": config.to_json(), "measured_us": round(seconds * 1e6, 2)})

    def write(self) -> None:
        """Write the file, and let the dispatcher follow it from now on."""
        self.entries.sort(key=lambda entry: (entry["only"], entry["accumulate"], entry["max_m"]))
        status = f"Measured on {self.device} by `python -m benchmarks.gemm --tune`: the fastest of {self.candidates} "
        head = {"devices": [self.device], "status": status + "candidates."}
        lines = ",\n".join(f"    {json.dumps(entry)}" for entry in self.entries)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        opening = json.dumps(head, indent=2).removesuffix("\n}")
        self.path.write_text(f'{opening},\n  "tuned": [\n{lines}\n  ]\n}}\n', encoding="utf-8")
        use(self.path)


class Sweep:
    """Tunes shapes one by one. A candidate must give the golden bits before its time counts."""

    def __init__(self, table: Table, clock: bench.Clock, candidates: Sequence[Config] = CANDIDATES) -> None:
        self.table = table
        self._clock = clock
        self._candidates = candidates
        self._right: dict[Variant, bool] = {}

    def tune(self, shape: Shape) -> None:
        """Time the candidates at a shape; the fastest right one becomes its entry."""
        kit = toolkit()
        sets = bench.inputs(shape, bench.copies_for(kit, *shape), "cpu" if kit.interpreted else "cuda")
        for accumulate in ACCUMULATE:
            wanted = [config for config in self._candidates if suits(config, accumulate, sets[0])]
            times = {}
            for config in wanted:
                if self._is_right(config, accumulate):
                    seconds = _time(config, accumulate, sets, self._clock)
                    if seconds is not None:
                        times[config] = seconds
            if times:
                best = min(times, key=lambda config: times[config])
                self.table.add(shape, accumulate, best, times[best])
                print(f"{shape} {accumulate}: {best.name}, best of {len(times)}", flush=True)
        self.table.write()  # after each shape: a sweep that is cut short is not lost

    def _is_right(self, config: Config, accumulate: Accumulate) -> bool:
        variant = (config, accumulate)
        if variant not in self._right:
            reason = wrong(*variant)
            self._right[variant] = reason is None
            if reason is not None:
                print(f"  {config.name} {accumulate} left out: {reason}", flush=True)
        return self._right[variant]


def wrong(config: Config, accumulate: Accumulate) -> str | None:
    """What is wrong with a variant's output on exact golden cases; None where every bit is right."""
    torch = toolkit().torch
    for prepared in _goldens():
        if scaled_mm.misfit(config, prepared.operands, torch.bfloat16) is None:
            outcome = prepared.run(config, accumulate, torch.bfloat16)
            if not outcome.passed:
                return f"{outcome.case}: {outcome.reason}"
    return None


@lru_cache(maxsize=1)
def _goldens() -> list[check.Prepared]:
    """Exact cases with one scale for each row: ragged ones, and on a GPU two that walk many tiles and a long K."""
    interpreted = toolkit().interpreted
    found = [case for case in cases.CASES if case.kind == "exact" and case.scaling == TOKEN_CHANNEL]
    wanted = [c for c in found if not c.full or (not interpreted and (c.m, c.k) in ((300, 4096), (16, 14336)))]
    return [check.Prepared.of(case, cases.recorded(), "cpu" if interpreted else "cuda") for case in wanted]


def warm(variants: Iterable[Variant]) -> None:
    """Compile variants into Triton's cache, many at a time: one after the other a sweep mostly waits for compilers."""
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_compile, variants, chunksize=4))


def all_variants(candidates: Sequence[Config] = CANDIDATES) -> list[Variant]:
    """Every candidate in every accumulation that it may be tried in."""
    return [(c, a) for c in candidates for a in ACCUMULATE if a == "fast" or not (c.block_k > 128 or c.specialize)]


def _compile(variant: Variant) -> None:
    """Launch once, on the smallest operands; what cannot be launched shows in the sweep."""
    kit = toolkit()
    operands = bench.inputs((16, 256, 512), 1, "cpu" if kit.interpreted else "cuda")[0]
    with suppress(Exception):
        scaled_mm.run(operands, *variant, kit.torch.bfloat16)


def _time(config: Config, accumulate: Accumulate, sets: Sequence[Operands], clock: bench.Clock) -> float | None:
    """Median seconds, or None where the config cannot be launched (too much shared memory, say)."""
    out_dtype = toolkit().torch.bfloat16
    try:
        once = clock.prepare(lambda copy: scaled_mm.run(sets[copy], config, accumulate, out_dtype), len(sets))
        return statistics.median(once() for _ in range(clock.repetitions))
    except Exception as error:  # one candidate that cannot run must not end a sweep
        print(f"  {config.name} left out: {type(error).__name__}")
        return None
