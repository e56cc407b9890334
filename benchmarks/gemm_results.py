"""The results of one GPU, as a file that grows: written after every shape, continued by the next run."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ckptkit import __version__
from ckptkit.kernels import bench, scaled_mm
from ckptkit.kernels.configs import ACCUMULATE, Problem, select
from ckptkit.kernels.golden import session


class Results:
    """Measurements of many shapes on one machine. ``document`` is what the file holds."""

    def __init__(self, path: Path, document: dict[str, Any], clock: bench.Clock) -> None:
        self.path = path
        self.document = document
        self._clock = clock

    @classmethod
    def open(cls, folder: Path, committed: Path, machine: session.Machine, clock: bench.Clock) -> Results:
        """Go on with the newest results of the same machine and versions, or begin new ones."""
        state = gpu_state() if machine.gpu else None
        today = datetime.date.today().isoformat()
        path = folder / f"gemm-{today}.json"
        about = {"ckptkit": __version__, "machine": asdict(machine), "clock": clock.name}
        for known in sorted([*folder.glob("gemm-*.json"), *committed.glob("gemm-*.json")], reverse=True):
            document = json.loads(known.read_text(encoding="utf-8"))
            if all(document.get(name) == value for name, value in about.items()):
                document["date"] = today
                document["state_before"].append(state)
                return cls(path, document, clock)
        ceilings = bench.ceilings() if machine.gpu else None
        start = {"date": today, **about, "ceilings": ceilings, "state_before": [state], "state_after": None, "rows": []}
        return cls(path, start, clock)

    def holds(self, shape: tuple[int, int, int]) -> bool:
        """Whether a shape was measured, with the configs that would be chosen now."""
        row = next((row for row in self.document["rows"] if row["shape"] == list(shape)), None)
        return row is not None and all(
            row["contenders"].get(f"ckptkit rowwise {accumulate}", {}).get("config") == chosen
            for accumulate, chosen in _chosen(shape).items()
        )

    def measure(self, shape: tuple[int, int, int]) -> None:
        """Time every contender at a shape, and write the file."""
        found = bench.measure(shape, self._clock)
        print(bench.line(found), flush=True)
        rows = [row for row in self.document["rows"] if row["shape"] != list(shape)]
        self.document["rows"] = sorted([*rows, found.to_json()], key=_order)
        self.document["state_after"] = gpu_state() if self.document["machine"]["gpu"] else None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")


def _order(row: Mapping[str, Any]) -> tuple[int, int, int]:
    m, n, k = row["shape"]
    return n * k, n, m


def _chosen(shape: tuple[int, int, int]) -> dict[str, str]:
    """The names of the configs that the tables give a shape now, by accumulation."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = scaled_mm.device_names(device)
    return {accumulate: select(names, Problem(*shape, accumulate, False)).name for accumulate in ACCUMULATE}


def gpu_state() -> str | None:
    """Clocks, power and throttling as the driver reports them; None where it does not."""
    query = "clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
