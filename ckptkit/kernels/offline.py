"""Compile the kernels for Hopper without a GPU, and read the machine code: ``python -m ckptkit.kernels.offline``.

What a timing would only hint at is visible in the code: whether products use the FP8 tensor core or fell back to
float16, whether registers spill, whether the shared memory fits. Must run without TRITON_INTERPRET.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ckptkit.kernels.build import toolkit
from ckptkit.kernels.configs import Accumulate, Config, tables
from ckptkit.kernels.scaling import GROUP_BLOCK, TENSOR_TENSOR, TOKEN_CHANNEL, Scaling

#: Shared memory that one program may have on Hopper: 227 KiB.
SHARED_LIMIT = 232448
_ARCHITECTURE = 90
#: A wgmma that the assembler had to serialize: C7508 to C7519.
_SERIALIZED = re.compile(r"\bC75\d\d\b")
_POINTERS = {
    "a_ptr": "*fp8e4nv",
    "w_ptr": "*fp8e4nv",
    "a_scale_ptr": "*fp32",
    "b_scale_ptr": "*fp32",
    "bias_ptr": "*bf16",
    "parts_ptr": "*fp32",
    "x_ptr": "*bf16",
    "codes_ptr": "*fp8e4nv",
    "scale_ptr": "*fp32",
}
#: Arguments that Triton specializes on when they are multiples of 16, as they are wherever TMA is used.
_SIZES = ("n", "k", "a_stride", "w_stride", "x_stride")


@dataclass(frozen=True)
class Job:
    """One program to compile: its compile-time arguments, and which dtype it stores."""

    label: str
    program: str
    arguments: tuple[tuple[str, Any], ...]
    out: str
    warps: int
    stages: int
    aligned: bool = True


@dataclass(frozen=True)
class MachineCode:
    """What the machine code of one job shows."""

    label: str
    fp8_wgmma: int
    instructions: tuple[str, ...]
    fp8_sass: int
    half_products: int
    promotions: int
    registers: int
    spill_bytes: int
    shared_bytes: int
    serialized: bool
    satfinite_conversions: int


def gemm_job(config: Config, accumulate: Accumulate, scaling: Scaling, out: str = "bf16", *, bias: bool = False) -> Job:
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
    if config.kernel == "portable":
        block = {"A_GROUP": scaling.a_group, "B_GROUP_N": scaling.b_block[0], "B_GROUP_K": scaling.b_block[1]}
        arguments.update(block)
    label = f"{config.name} {accumulate} {scaling.name} {out}{' bias' if bias else ''}"
    return Job(label, f"gemm_{config.kernel}", tuple(arguments.items()), out, config.warps, config.stages)


def jobs() -> Iterator[Job]:
    """Every config of the tables that Hopper can reach, in every mode that it is listed for, and the other programs."""
    for table in tables():
        for config, accumulate, depends_on_k in table.variants():
            scaling = GROUP_BLOCK if depends_on_k else TOKEN_CHANNEL
            job = gemm_job(config, accumulate, scaling)
            if depends_on_k and accumulate == "promoted":
                continue  # scaled partial products are promoted anyway: the same program as fast
            yield job
            if config.kernel == "persistent" and accumulate == "fast":
                smaller = replace(config, stages=config.stages - 1)
                yield gemm_job(smaller, accumulate, scaling, "fp32", bias=True)
            if config.kernel == "portable" and not depends_on_k:
                yield replace(job, label=f"{job.label} unaligned", aligned=False)
    yield gemm_job(Config("persistent", 128, 256, 128, 8, 4, subtile=True), "fast", TENSOR_TENSOR, "fp16", bias=True)
    scales = (("A_SCALE", "row"), ("B_SCALE", "row"), ("HAS_BIAS", True))
    yield Job("sum_partials", "sum_partials", (("SPLIT_K", 8), ("BLOCK_N", 1024), *scales), "bf16", 4, 1)
    for label, floor, amax, block, warps in (("token", 1 / 229376, 0.0, 4096, 8), ("group", 0.0, 1e-10, 128, 1)):
        limits = (("FLOOR", floor), ("FLOOR_AMAX", amax), ("BLOCK", block), ("HARDWARE", True))
        yield Job(f"quantize_rows {label}", "quantize_rows", limits, "bf16", warps, 1)


def compile_job(job: Job) -> MachineCode:
    """Compile one job for sm_90a and read what came out."""
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
    aligned = [name.endswith("_ptr") or (job.aligned and name in _SIZES) for name in names]
    source = ASTSource(
        program,
        signature,
        {(index,): constants[name] for index, name in enumerate(names) if name in constants},
        {(index,): hints for index, name in enumerate(names) if aligned[index] and name not in constants},
    )
    options = {"num_warps": job.warps, "num_stages": job.stages}
    made = kit.triton.compile(source, target=GPUTarget("cuda", _ARCHITECTURE, 32), options=options)
    return _read(job, made)


def _type(name: str, job: Job, constants: dict[str, Any]) -> str:
    if name.endswith("_desc"):
        rows = constants["BLOCK_M" if name in ("a_desc", "d_desc") else "BLOCK_N"]
        if name != "d_desc":
            return f"tensordesc<fp8e4nv[{rows}, {constants['BLOCK_K']}]>"
        columns = constants["BLOCK_N"] // 2 if constants["SUBTILE"] else constants["BLOCK_N"]
        return f"tensordesc<{job.out}[{rows}, {columns}]>"
    if name == "d_ptr":
        return "*fp32" if constants.get("SPLIT_K", 1) > 1 and job.program == "gemm_decode" else f"*{job.out}"
    return _POINTERS.get(name, "i32")


def _read(job: Job, made: Any) -> MachineCode:
    from triton.backends.nvidia.compiler import get_ptxas

    assembler = Path(get_ptxas(_ARCHITECTURE).path)
    disassembler = Path(toolkit().triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    ptx: str = made.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(ptx, encoding="utf-8")
        binary.write_bytes(made.asm["cubin"])
        verbose = [str(assembler), "-v", f"--gpu-name=sm_{_ARCHITECTURE}a", str(text), "-o", f"{folder}/again"]
        report = subprocess.run(verbose, capture_output=True, text=True, check=False).stderr
        sass = subprocess.run(
            [str(disassembler), "--dump-sass", str(binary)], capture_output=True, text=True, check=True
        ).stdout
    registers = re.search(r"Used (\d+) registers", report)
    spills = re.findall(r"(\d+) bytes spill", report)
    found = re.findall(r"wgmma\.mma_async\.sync\.aligned\.(\S*)", ptx)
    return MachineCode(
        label=job.label,
        fp8_wgmma=sum(name.endswith("f32.e4m3.e4m3") for name in found),
        instructions=tuple(sorted(set(found))),
        fp8_sass=len(re.findall(r"\bQGMMA\b", sass)),
        half_products=len(re.findall(r"\bmma\.sync", ptx)) + len(re.findall(r"\bHMMA\b", sass)),
        promotions=len(re.findall(r"\badd(?:\.rn)?\.f32\b|\bfma\.rn\.f32\b", ptx)),
        registers=int(registers[1]) if registers else -1,
        spill_bytes=sum(map(int, spills)) if spills else -1,
        shared_bytes=made.metadata.shared,
        serialized=_SERIALIZED.search(report) is not None,
        satfinite_conversions=len(re.findall(r"cvt\.rn\.satfinite\.e4m3x2\.f32", ptx)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    workers = parser.parse_args().workers
    with ProcessPoolExecutor(max_workers=workers) as pool:
        print(json.dumps([asdict(code) for code in pool.map(compile_job, jobs())], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
