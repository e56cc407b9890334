"""What the machine code of a compiled kernel shows, for each chip that it can be compiled for without having one."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ckptkit.record import record

#: A wgmma that the assembler had to serialize: C7508 to C7519.
_SERIALIZED = re.compile(r"\bC75\d\d\b")


@record
class Chip:
    """A compilation target. ``fp8``: Triton's name of the e4m3 type that its tensor cores multiply.

    ``products`` finds a matrix instruction with FP8 operands in the assembly, ``fallbacks`` one with wider operands.
    ``shared_limit`` is what one program may have, in bytes: 227 KiB on Hopper, 99 KiB on Ada, 64 KiB on MI300.
    """

    name: str
    backend: str
    warp: int
    fp8: str
    shared_limit: int
    products: str
    fallbacks: str

    @property
    def architecture(self) -> int | str:
        """As Triton's target names it: 90, or ``gfx942``."""
        return int(self.name.removeprefix("sm_")) if self.backend == "cuda" else self.name


_MMA, _HALF_MMA = r"mma\.sync\.aligned\.\S*\.e4m3\.e4m3\.f32", r"mma\.sync\.aligned\.\S*\.b?f16\.\S*"
_AMD_HALF = r"v_w?mfma_\w*_b?f16\w*|v_wmma_\w*_b?f16\w*"

#: What the kernels are compiled for: the chip that they were written for first, then those that run ``portable``.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("sm_90", "cuda", 32, "fp8e4nv", 232448, r"wgmma\.mma_async\S*f32\.e4m3\.e4m3", r"\bmma\.sync\S*"),
        Chip("sm_89", "cuda", 32, "fp8e4nv", 101376, _MMA, _HALF_MMA),
        Chip("sm_120", "cuda", 32, "fp8e4nv", 101376, _MMA, _HALF_MMA),
        Chip("gfx942", "hip", 64, "fp8e4b8", 65536, r"v_mfma_\w*_fp8_fp8", _AMD_HALF),
        Chip("gfx950", "hip", 64, "fp8e4nv", 163840, r"v_mfma_\w*_f8f6f4", _AMD_HALF),
        Chip("gfx1201", "hip", 32, "fp8e4nv", 65536, r"v_wmma_\w*_fp8_fp8", _AMD_HALF),
    )
}


@record
class MachineCode:
    """What the machine code of one program shows. ``promotions``, ``serialized``, ``sass``: NVIDIA only.

    ``fp8_products`` and ``half_products`` count matrix instructions; ``instructions`` are the FP8 ones by name.
    ``sass`` counts Hopper's ``QGMMA`` in the disassembly: what the assembler made of wgmma with FP8 operands.
    ``conversions`` are the instructions that make FP8 codes, by name. ``specialized``: loads have a warp of their own.
    """

    chip: str
    label: str
    fp8_products: int
    instructions: tuple[str, ...]
    half_products: int
    conversions: tuple[str, ...]
    registers: int
    spill_bytes: int
    shared_bytes: int
    promotions: int = 0
    serialized: bool = False
    sass: int = 0
    specialized: bool = False


def read(chip: Chip, label: str, made: Any, triton_folder: Path) -> MachineCode:
    """Read a kernel that Triton compiled."""
    return _read_nvidia(chip, label, made, triton_folder) if chip.backend == "cuda" else _read_amd(chip, label, made)


def _read_nvidia(chip: Chip, label: str, made: Any, triton_folder: Path) -> MachineCode:
    from triton.backends.nvidia.compiler import get_ptxas

    assembler = Path(get_ptxas(chip.architecture).path)
    disassembler = triton_folder / "backends" / "nvidia" / "bin" / "cuobjdump"
    # Hopper and later have instructions that only the architecture's own target assembles.
    target = chip.name + ("a" if int(chip.architecture) >= 90 else "")
    ptx: str = made.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        text, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        text.write_text(ptx, encoding="utf-8")
        binary.write_bytes(made.asm["cubin"])
        verbose = [str(assembler), "-v", f"--gpu-name={target}", str(text), "-o", f"{folder}/again"]
        report = subprocess.run(verbose, capture_output=True, text=True, check=False).stderr
        dump = [str(disassembler), "--dump-sass", str(binary)]
        sass = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    registers = re.search(r"Used (\d+) registers", report)
    spills = re.findall(r"(\d+) bytes spill", report)
    found = re.findall(chip.products, ptx)
    halves = re.findall(chip.fallbacks, ptx)
    return MachineCode(
        chip=chip.name,
        label=label,
        fp8_products=len(found),
        instructions=tuple(sorted(set(found))),
        half_products=len(halves) + (len(re.findall(r"\bHMMA\b", sass)) if chip.name == "sm_90" else 0),
        conversions=tuple(sorted(set(re.findall(r"cvt\.\S*e4m3x2\.f\w+", ptx)))),
        registers=int(registers[1]) if registers else -1,
        spill_bytes=sum(map(int, spills)) if spills else -1,
        shared_bytes=made.metadata.shared,
        promotions=len(re.findall(r"\b(?:add(?:\.rn)?|fma\.rn)\.f32(?:x2)?\b", ptx)),
        serialized=_SERIALIZED.search(report) is not None,
        sass=len(re.findall(r"\bQGMMA\b", sass)),
        specialized="setmaxnreg" in ptx,
    )


def _read_amd(chip: Chip, label: str, made: Any) -> MachineCode:
    text: str = made.asm["amdgcn"]

    def stated(key: str) -> int:
        found = re.search(rf"\.{key}:\s+(\d+)", text)
        return int(found[1]) if found else -1

    products = re.findall(chip.products, text)
    spills = stated("vgpr_spill_count"), stated("sgpr_spill_count")
    return MachineCode(
        chip=chip.name,
        label=label,
        fp8_products=len(products),
        instructions=tuple(sorted(set(products))),
        half_products=len(re.findall(chip.fallbacks, text)),
        conversions=tuple(sorted(set(re.findall(r"v_cvt_\w*fp8_f\w+", text)))),
        registers=stated("vgpr_count"),
        spill_bytes=-1 if min(spills) < 0 else 4 * chip.warp * sum(spills),
        shared_bytes=made.metadata.shared,
    )
