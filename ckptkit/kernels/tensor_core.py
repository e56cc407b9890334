"""A model of Hopper's FP8 tensor core, in numpy: what its 14-bit accumulator does to a sum.

One step takes 32 products and the accumulator, aligns them to the largest exponent among them, cuts each toward zero
at 13 fraction bits, adds, and cuts the result to 14 significant bits. After published measurements (MMA-Sim,
arXiv:2511.10909) that report bitwise agreement with hardware; products are aligned by their own exponent, which can
only cut more than aligning by the sum of the operands' exponents.

The model is for deriving and testing tolerances. It is not a claim about a chip that nobody ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: K elements that one instruction takes.
STEP = 32
_FRACTION_BITS = 13
#: K elements between promotions to float32.
PROMOTION = 128


def accumulate(a: NDArray[np.float64], w: NDArray[np.float64], *, promoted: bool = False) -> NDArray[np.float64]:
    """``a @ w.T`` for FP8 values a [M, K] and w [N, K], as the tensor core would add it up."""
    import numpy as np

    depth = a.shape[1]
    inside = np.zeros((a.shape[0], w.shape[0]))
    outside = np.zeros_like(inside, dtype=np.float32)
    for start in range(0, depth, STEP):
        products = a[:, None, start : start + STEP] * w[None, :, start : start + STEP]
        inside = _step(products, inside)
        if promoted and (start + STEP) % PROMOTION == 0:
            outside += inside.astype(np.float32)
            inside = np.zeros_like(inside)
    return (outside + inside.astype(np.float32)).astype(np.float64)


def _step(products: NDArray[np.float64], inside: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    largest = np.maximum(np.abs(products).max(axis=2), np.abs(inside))
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 1 - _FRACTION_BITS)
    total = (np.trunc(products / unit[:, :, None]).sum(axis=2) + np.trunc(inside / unit)) * unit
    grid = np.ldexp(1.0, np.frexp(total)[1] - 1 - _FRACTION_BITS)
    cut: NDArray[np.float64] = np.trunc(total / grid) * grid
    return cut
