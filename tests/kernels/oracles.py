"""Hopper's FP8 tensor core as others have written it down, each as ``(a, w, promoted) -> float32 [M, N]``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType

import mmaemu
import numpy as np
import torch
from numpy.typing import NDArray

from ckptkit.kernels.tensor_core import PROMOTION, STEP

Oracle = Callable[[NDArray[np.uint8], NDArray[np.uint8], bool], NDArray[np.float32]]


def _fp8(codes: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(codes).view(torch.float8_e4m3fn)


def emulated(a: NDArray[np.uint8], w: NDArray[np.uint8], promoted: bool) -> NDArray[np.float32]:
    """mmaemu, profile of the H100: what cuBLAS gives with and without fast accumulation, K not split."""
    found = mmaemu.accumulate(_fp8(a), _fp8(w), use_fast_accum=not promoted, splitk=1, profile="hopper")
    return found.numpy()


@lru_cache(maxsize=1)
def _instruction() -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    # Its double precision for other chips compiles C++ on import: no part of this instruction.
    sys.modules.setdefault("mmasim.arithmetic.fma", ModuleType("mmasim.arithmetic.fma"))
    from mmasim.nv_ptx import sim

    return sim.WGMMA("Hopper", f"m64n64k{STEP}.f32.e4m3.e4m3")


def simulated(a: NDArray[np.uint8], w: NDArray[np.uint8], promoted: bool) -> NDArray[np.float32]:
    """mmasim's wgmma, one after the other; promotion as CUTLASS does it."""
    left, right = (_fp8(np.pad(codes, ((0, 0), (0, -codes.shape[1] % STEP)))) for codes in (a, w))
    inside = torch.zeros((len(a), len(w)))
    outside = torch.zeros_like(inside)
    for start in range(0, left.shape[1], STEP):
        inside = _instruction()(left[:, start : start + STEP], right[:, start : start + STEP].T, inside)
        if promoted and (start + STEP) % PROMOTION == 0:
            outside, inside = outside + inside, torch.zeros_like(inside)
    total = outside + inside
    # Adding in float32 on a CPU gives NaNs of its own; every NaN of the tensor core is this one.
    return np.where(np.isnan(total.numpy()), np.uint32(0x7FFFFFFF).view(np.float32), total.numpy())


ORACLES: dict[str, Oracle] = {"mmaemu": emulated, "mmasim": simulated}
