"""The golden cases, and the recorded hashes that say that their inputs and outputs are still the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ckptkit.kernels.build import import_torch
from ckptkit.kernels.golden import derive, inputs
from ckptkit.kernels.golden.inputs import Case
from ckptkit.kernels.scaling import GROUP_BLOCK, SCALINGS, TENSOR_TENSOR, TOKEN_CHANNEL, TOKEN_TENSOR, Scaling

#: The recorded hashes, which the package carries.
RECORD = Path(__file__).with_name("hashes.json")


def _small() -> Iterable[Case]:
    # Ragged everywhere, every scaling; 272 and 400 are multiples of 16 but of no tile, 271 is not even that.
    shapes = [(17, 144, 400), (1, 80, 272), (70, 144, 272)]
    for scaling in SCALINGS:
        chosen = shapes if scaling in (TOKEN_CHANNEL, GROUP_BLOCK) else shapes[:1]
        for seed, (m, n, k) in enumerate(chosen, 1):
            yield Case(f"{scaling.name}-{m}x{n}x{k}", "exact", scaling, m, n, k, seed)
        yield Case(f"{scaling.name}-bias", "exact", scaling, 15, 96, 304, 7, bias=True)
        yield Case(f"{scaling.name}-unaligned", "exact", scaling, 13, 67, 271, 8)
        yield Case(f"{scaling.name}-random", "random", scaling, 33, 128, 1040, 9, bias=True)


def _full() -> Iterable[Case]:
    qkv, o, gate_up, down = (6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)
    wanted: list[tuple[Scaling, int, tuple[int, int]]] = [
        *((TOKEN_CHANNEL, m, o) for m in (1, 15, 17, 63, 65, 127, 129, 300, 1000)),
        (TOKEN_CHANNEL, 16, down),
        (TOKEN_CHANNEL, 64, gate_up),
        (TOKEN_CHANNEL, 256, qkv),
        (TOKEN_CHANNEL, 2049, (4112, 4112)),
        (TOKEN_CHANNEL, 513, down),
        (TENSOR_TENSOR, 33, qkv),
        (TENSOR_TENSOR, 1000, o),
        (TOKEN_TENSOR, 129, qkv),
        *((GROUP_BLOCK, m, o) for m in (1, 64, 129, 1000)),
        (GROUP_BLOCK, 300, (4112, 4144)),
        (GROUP_BLOCK, 64, down),
    ]
    for seed, (scaling, m, (n, k)) in enumerate(wanted, 100):
        # Sums of 14336 products stay within 14 bits only for the smaller integers.
        limit = 4 if k < 8192 else 2
        yield Case(f"{scaling.name}-{m}x{n}x{k}", "exact", scaling, m, n, k, seed, limit=limit, full=True)
    for seed, (scaling, m, (n, k)) in enumerate(
        [(TOKEN_CHANNEL, 16, o), (TOKEN_CHANNEL, 300, o), (TENSOR_TENSOR, 300, down), (GROUP_BLOCK, 300, o)], 200
    ):
        yield Case(f"{scaling.name}-random-{m}x{n}x{k}", "random", scaling, m, n, k, seed, full=True)


#: Small cases run everywhere, in the interpreter too; full ones where there is a GPU.
CASES: tuple[Case, ...] = (*_small(), *_full())


def record(case: Case) -> dict[str, Any]:
    """What is written down of one case. Raises when an exact case is not certified exact."""
    torch = import_torch()
    operands = inputs.build(case)
    entry: dict[str, Any] = {
        "kind": case.kind,
        "scaling": case.scaling.name,
        "shape": [case.m, case.n, case.k],
        "seed": case.seed,
        "inputs": inputs.inputs_digest(operands),
    }
    if case.kind == "exact":
        bound = inputs.certificate(operands)
        wide = inputs.expected(operands)
        if bound >= inputs.EXACT_STEPS or not torch.equal(wide, wide.float().double()):
            raise ValueError(f"{case.name} is not exact: partial sums reach {bound} of {inputs.EXACT_STEPS} steps")
        rounding = derive.inexact(operands)
        if rounding:
            raise ValueError(f"{case.name} is not exact on Hopper's tensor core: {', '.join(rounding)} sums round")
        entry["certificate"] = bound
        entry["outputs"] = {
            str(dtype).removeprefix("torch."): inputs.output_digest(wide.float().to(dtype))
            for dtype in (torch.float32, torch.bfloat16, torch.float16)
        }
    return entry


def recorded(path: Path | None = None) -> Mapping[str, Any]:
    """The recorded hashes by case name."""
    found: Mapping[str, Any] = json.loads((path or RECORD).read_text(encoding="utf-8"))["cases"]
    return found


def document(entries: Mapping[str, Any]) -> str:
    """The record file's text."""
    note = "Written by `ckptkit golden record`: sha256 of golden inputs and outputs; the data come from the seeds."
    return json.dumps({"note": note, "cases": entries}, indent=1) + "\n"
