"""Compile the kernels without a GPU, and read the machine code: ``python -m ckptkit.kernels.offline [--chip sm_90]``.

What a timing would only hint at is visible in the code: whether products use the FP8 tensor core or fell back to
float16, whether registers spill, whether the shared memory fits. Must run without TRITON_INTERPRET.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ckptkit.kernels.build import toolkit
from ckptkit.kernels.configs import Accumulate, Config, tables
from ckptkit.kernels.machine_code import CHIPS, Chip, MachineCode, read
from ckptkit.kernels.quantize import converts_once
from ckptkit.kernels.scaling import GROUP_BLOCK, TENSOR_TENSOR, TOKEN_CHANNEL, Scaling
from ckptkit.record import record

_POINTERS = {
    "a_scale_ptr": "*fp32",
    "b_scale_ptr": "*fp32",
    "bias_ptr": "*bf16",
    "parts_ptr": "*fp32",
    "x_ptr": "*bf16",
    "scale_ptr": "*fp32",
}
#: What a sweep may put into a table beside the configs that are there: loads in a warp of their own.
SPECIALIZED = (
    Config("persistent", 128, 256, 128, 4, 3, specialize=True),
    Config("persistent", 128, 128, 128, 4, 4, specialize=True),
)
#: What is in the chip's own FP8 type.
_FP8_POINTERS = ("a_ptr", "w_ptr")
#: Arguments that Triton specializes on when they are multiples of 16, as they are wherever TMA is used.
_SIZES = ("n", "k", "a_stride", "w_stride", "x_stride")


@record
class Job:
    """One program to compile for a chip: its compile-time arguments, and which dtype it stores."""

    chip: Chip
    label: str
    program: str
    arguments: tuple[tuple[str, Any], ...]
    out: str
    warps: int
    stages: int
    aligned: bool = True


def gemm_job(
    chip: Chip, config: Config, accumulate: Accumulate, scaling: Scaling, out: str = "bf16", *, bias: bool = False
) -> Job:
    """The job of one product's config."""
    arguments: dict[str, Any] = {
        "BLOCK_M": config.block_m,
        "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k,
        "PROMOTE": accumulate == "promoted",
        "A_SCALE": scaling.a,
        "B_SCALE": scaling.b,
        "HAS_BIAS": bias,
    }
    if config.kernel == "decode":
        arguments["SPLIT_K"] = config.split_k or 4
    else:
        arguments["GROUP_M"] = config.group_m
    if config.kernel == "persistent":
        arguments["SUBTILE"] = config.subtile
        arguments["SPECIALIZE"] = config.specialize
    if config.kernel == "portable":
        block = {"A_GROUP": scaling.a_group, "B_GROUP_N": scaling.b_block[0], "B_GROUP_K": scaling.b_block[1]}
        arguments.update(block)
    label = f"{config.name} {accumulate} {scaling.name} {out}{' bias' if bias else ''}"
    return Job(chip, label, f"gemm_{config.kernel}", tuple(arguments.items()), out, config.warps, config.stages)


def jobs(chip: Chip) -> Iterator[Job]:
    """Every config of the tables that a chip can reach, in every mode that it is listed for, and the other programs."""
    hopper = chip.name == "sm_90"
    for table in tables():
        for config, accumulate, depends_on_k in table.variants():
            if depends_on_k and accumulate == "promoted":
                continue  # scaled partial products are promoted anyway: the same program as fast
            if config.kernel != "portable" and not hopper:
                continue
            scaling = GROUP_BLOCK if depends_on_k else TOKEN_CHANNEL
            job = gemm_job(chip, config, accumulate, scaling)
            yield job
            if config.kernel == "persistent" and accumulate == "fast":
                smaller = replace(config, stages=config.stages - 1)
                yield gemm_job(chip, smaller, accumulate, scaling, "fp32", bias=True)
            if config.kernel == "portable" and not depends_on_k:
                yield replace(job, label=f"{job.label} unaligned", aligned=False)
    if hopper:
        largest = Config("persistent", 128, 256, 128, 8, 4, subtile=True)
        yield gemm_job(chip, largest, "fast", TENSOR_TENSOR, "fp16", bias=True)
        for config in SPECIALIZED:
            yield gemm_job(chip, config, "fast", TOKEN_CHANNEL)
            yield gemm_job(chip, replace(config, stages=config.stages - 1), "fast", TOKEN_CHANNEL, "fp32", bias=True)
        scales = (("A_SCALE", "row"), ("B_SCALE", "row"), ("HAS_BIAS", True))
        yield Job(chip, "sum_partials", "sum_partials", (("SPLIT_K", 8), ("BLOCK_N", 1024), *scales), "bf16", 4, 1)
    for label, floor, amax, block, warps in (("token", 1 / 229376, 0.0, 4096, 8), ("group", 0.0, 1e-10, 128, 1)):
        hardware = chip.backend == "cuda" and converts_once(int(chip.architecture))
        limits = (("FLOOR", floor), ("FLOOR_AMAX", amax), ("BLOCK", block), ("HARDWARE", hardware))
        yield Job(chip, f"quantize_rows {label}", "quantize_rows", limits, "bf16", warps, 1)


def compile_job(job: Job) -> MachineCode:
    """Compile one job for its chip and read what came out."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kit = toolkit()
    program = kit.kernels[job.program]
    constants = dict(job.arguments)
    types = {"bf16": kit.tl.bfloat16, "fp16": kit.tl.float16, "fp32": kit.tl.float32}
    names = [parameter.name for parameter in program.params]
    if "OUT" in names:
        constants["OUT"] = types[job.out]
    signature = {name: "constexpr" if name in constants else _type(name, job, constants) for name in names}
    hints = [["tt.divisibility", 16]]
    pointers = ("_ptr", "_desc") if constants.get("SPECIALIZE") else ("_ptr",)
    aligned = [name.endswith(pointers) or (job.aligned and name in _SIZES) for name in names]
    source = ASTSource(
        program,
        signature,
        {(index,): constants[name] for index, name in enumerate(names) if name in constants},
        {(index,): hints for index, name in enumerate(names) if aligned[index] and name not in constants},
    )
    options = {"num_warps": job.warps, "num_stages": job.stages}
    target = GPUTarget(job.chip.backend, job.chip.architecture, job.chip.warp)
    made = kit.triton.compile(source, target=target, options=options)
    return read(job.chip, job.label, made, Path(kit.triton.__file__).parent)


def _type(name: str, job: Job, constants: dict[str, Any]) -> str:
    if name.endswith("_desc") and constants.get("SPECIALIZE"):
        return f"*{job.out}" if name == "d_desc" else f"*{job.chip.fp8}"
    if name.endswith("_desc"):
        rows = constants["BLOCK_M" if name in ("a_desc", "d_desc") else "BLOCK_N"]
        if name != "d_desc":
            return f"tensordesc<fp8e4nv[{rows}, {constants['BLOCK_K']}]>"
        columns = constants["BLOCK_N"] // 2 if constants["SUBTILE"] else constants["BLOCK_N"]
        return f"tensordesc<{job.out}[{rows}, {columns}]>"
    if name == "d_ptr":
        return "*fp32" if constants.get("SPLIT_K", 1) > 1 and job.program == "gemm_decode" else f"*{job.out}"
    if name in _FP8_POINTERS:
        return f"*{job.chip.fp8}"
    if name == "codes_ptr":
        return "*fp8e4nv" if constants["HARDWARE"] else "*u8"
    return _POINTERS.get(name, "i32")


def main() -> int:
    """Compile for the chips that are asked for, and print what came out as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chip", action="append", choices=CHIPS, help="may be repeated [default: all]")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    wanted = [job for name in options.chip or CHIPS for job in jobs(CHIPS[name])]
    with ProcessPoolExecutor(max_workers=options.workers) as pool:
        print(json.dumps([asdict(code) for code in pool.map(compile_job, wanted)], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
