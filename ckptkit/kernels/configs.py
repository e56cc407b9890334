"""Which kernel with which tile for which shape: the committed tables, and how one entry is chosen.

A table is JSON beside this module. ``rules`` are tried in order and the first that admits the problem wins;
``tuned`` entries were measured on the device that the table names, for one (N, K), and come before all rules. Each
table says in ``status`` where its numbers come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ckptkit.record import record

Kernel = Literal["persistent", "decode", "portable"]
Accumulate = Literal["fast", "promoted"]

#: ``fast``: sums stay in the tensor core. ``promoted``: they move to float32 at least every 128 elements of K.
ACCUMULATE: tuple[Accumulate, ...] = ("fast", "promoted")

TABLES = Path(__file__).parent / "tables"

#: Programs that a split K should reach: a bit more than one for each of Hopper's 132 multiprocessors.
_WANTED_PROGRAMS = 200
_MAX_SPLIT = 8
#: A slice of K shorter than this many steps does not fill the load pipeline.
_MIN_STEPS = 4


@record
class Config:
    """One way to run a product. ``split_k`` 0: as many slices as fill the chip; ``group_m``: see ``tile_position``.

    ``specialize``: loads have a warp of their own; for 4 warps, 128 rows and sums that stay in the tensor core.
    """

    kernel: Kernel
    block_m: int
    block_n: int
    block_k: int
    warps: int
    stages: int
    split_k: int = 1
    group_m: int = 8
    subtile: bool = False
    specialize: bool = False

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Config:
        """A configuration from the keys that :meth:`to_json` gave."""
        return cls(**raw)

    def to_json(self) -> dict[str, Any]:
        """Without what equals the default."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    @property
    def name(self) -> str:
        """
        >>> Config("decode", 16, 64, 256, 4, 5, split_k=4).name
        'decode-16x64x256-w4-s5-k4'
        """
        text = f"{self.kernel}-{self.block_m}x{self.block_n}x{self.block_k}-w{self.warps}-s{self.stages}"
        text += (f"-k{self.split_k}" if self.split_k != 1 else "") + ("-half" if self.subtile else "")
        return text + (f"-g{self.group_m}" if self.group_m != 8 else "") + ("-ws" if self.specialize else "")

    def programs(self, m: int, n: int) -> int:
        """How many output tiles there are."""
        return -(-m // self.block_m) * -(-n // self.block_n)

    def with_split(self, m: int, n: int, k: int) -> Config:
        """With ``split_k`` decided: enough slices to fill the chip, each worth its pipeline and its partial sums."""
        if self.split_k:
            return self
        split, steps = 1, -(-k // self.block_k)
        # Partial sums are written and read back as float32: 8 * split * m * n bytes, kept to a quarter of the weights.
        while (
            self.programs(m, n) * split < _WANTED_PROGRAMS
            and split < _MAX_SPLIT
            and steps >= 2 * split * _MIN_STEPS
            and 4 * 8 * (2 * split) * m <= k
        ):
            split *= 2
        return replace(self, split_k=split)


@record
class Problem:
    """What a choice depends on. ``depends_on_k``: scales vary along K."""

    m: int
    n: int
    k: int
    accumulate: Accumulate
    depends_on_k: bool


@record
class ConfigRule:
    """A config and the problems that it is meant for; None: no limit."""

    config: Config
    accumulate: frozenset[str]
    depends_on_k: bool
    max_m: int | None = None
    max_n: int | None = None
    min_k: int | None = None
    only: tuple[int, int] | None = None

    def admits(self, problem: Problem) -> bool:
        """Whether a problem is one that the rule is for."""
        return (
            problem.accumulate in self.accumulate
            and problem.depends_on_k == self.depends_on_k
            and (self.max_m is None or problem.m <= self.max_m)
            and (self.max_n is None or problem.n <= self.max_n)
            and (self.min_k is None or problem.k >= self.min_k)
            and (self.only is None or (problem.n, problem.k) == self.only)
        )


@record
class Table:
    """One table. ``devices``: prefixes of what it is for, an architecture (``sm_90``) or a device name."""

    name: str
    devices: tuple[str, ...]
    status: str
    tuned: tuple[ConfigRule, ...]
    rules: tuple[ConfigRule, ...]

    def select(self, problem: Problem) -> Config | None:
        """The config of the first entry that admits the problem, tuned ones first."""
        for rule in (*self.tuned, *self.rules):
            if rule.admits(problem):
                return rule.config.with_split(problem.m, problem.n, problem.k)
        return None

    def variants(self) -> Iterator[tuple[Config, Accumulate, bool]]:
        """Every distinct (config, accumulation, scales along K) that the table can lead to."""
        seen = set()
        for rule in (*self.tuned, *self.rules):
            for accumulate in ACCUMULATE:
                key = (rule.config, accumulate, rule.depends_on_k)
                if accumulate in rule.accumulate and key not in seen:
                    seen.add(key)
                    yield key


def _rule(raw: Mapping[str, Any]) -> ConfigRule:
    only = raw.get("only")
    return ConfigRule(
        config=Config.from_json(raw["config"]),
        accumulate=frozenset(raw["accumulate"]),
        depends_on_k=raw["depends_on_k"],
        max_m=raw.get("max_m"),
        max_n=raw.get("max_n"),
        min_k=raw.get("min_k"),
        only=None if only is None else (only[0], only[1]),
    )


@lru_cache(maxsize=1)
def tables() -> tuple[Table, ...]:
    """All tables, the most specific (longest device name) first; one given to :func:`use` in place of its namesake."""
    files = {path.name: path for path in TABLES.glob("*.json")}
    if _measured is not None and _measured.is_file():
        files[_measured.name] = _measured
    found = []
    for path in files.values():
        raw = json.loads(path.read_text(encoding="utf-8"))
        entries = [tuple(_rule(rule) for rule in raw.get(part, ())) for part in ("tuned", "rules")]
        found.append(Table(path.stem, tuple(raw["devices"]), raw["status"], entries[0], entries[1]))
    return tuple(sorted(found, key=lambda table: (-max(map(len, table.devices)), table.name)))


#: A table that a sweep is writing.
_measured: Path | None = None


def use(path: Path | None) -> None:
    """Read all tables again, this one too: a sweep's choices then hold at once. None: the committed ones only."""
    global _measured
    _measured = path
    tables.cache_clear()


def select(device: tuple[str, ...], problem: Problem) -> Config:
    """The config for a problem on a device, given as names: ``("sm_90", "NVIDIA H200")``."""
    for table in tables():
        if any(name.startswith(prefix) for name in device for prefix in table.devices):
            config = table.select(problem)
            if config is not None:
                return config
    raise LookupError(f"no table admits {problem} on {device}")


def fallback(problem: Problem) -> Config:
    """The portable config, which runs anything."""
    return select(("",), problem)
