"""Inputs of golden cases, from a seed by arithmetic that is the same everywhere and forever.

Exact cases hold small integers, times a power of two for each row. All products of one output then lie on one grid,
and where every partial sum in every order stays below 2**14 grid steps, no accumulator of 14 bits or more ever rounds:
any correct kernel gives the same bits, whatever its tiles, order, split or accumulation. The certificate is the
largest such partial sum, computed from the inputs. Scales have few enough bits that the product with both is exact
in float32, so the output has one right value, and one right rounding to each dtype.

Random cases are bell-shaped with outlier columns, quantized as exporters and engines do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from ckptkit.kernels import quantize, reference
from ckptkit.kernels.build import import_torch
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import Scaling
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.record import record

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

#: Partial sums below this many grid steps are exact in Hopper's 14-bit accumulator.
EXACT_STEPS = 1 << 14
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@record
class Case:
    """One golden case. ``limit``: integers of exact cases lie in [-limit, limit]. ``full``: for a GPU only."""

    name: str
    kind: Literal["exact", "random"]
    scaling: Scaling
    m: int
    n: int
    k: int
    seed: int
    limit: int = 4
    bias: bool = False
    full: bool = False


def random_bytes(seed: int, stream: str, count: int) -> NDArray[np.uint8]:
    """Bytes of splitmix64 over a counter; ``stream`` names what they are for.

    >>> random_bytes(1, "a", 4).tolist()
    [134, 40, 88, 54]
    """
    import numpy as np

    start = int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        state = np.arange(1, -(-count // 8) + 1, dtype=np.uint64)
        state = np.uint64(start) + state * np.uint64(_MIX[0])
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX[1])
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX[2])
        state ^= state >> np.uint64(31)
    found: NDArray[np.uint8] = state.astype("<u8").view(np.uint8)[:count]
    return found


def integers(seed: int, stream: str, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.int64]:
    """Integers in [low, high], at most 256 different ones."""
    import numpy as np

    raw = random_bytes(seed, stream, int(np.prod(shape, dtype=np.int64))).astype(np.int64)
    return (low + ((raw * (high - low + 1)) >> 8)).reshape(shape)


def bell(seed: int, stream: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """About normal, in [-3, 3]: sums of nine bytes, so that no library function decides a bit."""
    import numpy as np

    count = int(np.prod(shape, dtype=np.int64))
    raw = random_bytes(seed, stream, count * 9).reshape(count, 9)
    found: NDArray[np.float64] = ((raw.sum(axis=1, dtype=np.int64) * 2 - 9 * 255) / 765.0).reshape(shape)
    return found


def build(case: Case, device: Any = "cpu") -> Operands:
    """The operands of a case."""
    a, weight, a_scale, weight_scale, bias = _exact(case) if case.kind == "exact" else _random(case)
    return Operands(
        a.to(device),
        weight.to(device),
        a_scale.to(device),
        weight_scale.to(device),
        case.scaling,
        None if bias is None else bias.to(device),
    )


def _exact(case: Case) -> tuple[Any, ...]:
    import numpy as np

    torch = import_torch()
    scaling, m, n, k = case.scaling, case.m, case.n, case.k

    def powers(stream: str, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.float64]:
        return np.ldexp(1.0, integers(case.seed, stream, shape, low, high))

    # Rows reach from the subnormal codes to 128; with a bias all rows of A share one grid.
    a_power = powers("a-power", (m,), -9, 5) if not case.bias else np.ones(m)
    w_power = powers("w-power", (n,), -9, 5)
    a_scale = powers("a-scale", scaling.a_shape(m, k), -6, -4)
    b_scale = powers("b-scale", scaling.b_shape(n, k), -4, -2)
    bias = None
    if case.bias:
        a_scale = np.full_like(a_scale, 0.125)
        b_scale = b_scale if scaling.b == "row" else np.full_like(b_scale, 0.25)
        step = w_power * 0.125 * (b_scale if scaling.b == "row" else 0.25)
        bias = torch.from_numpy(integers(case.seed, "bias", (n,), -64, 64) * step).to(torch.bfloat16)
    elif not scaling.depends_on_k:
        # 14 bits of sum and twice five of significand fill float32 exactly.
        a_scale = a_scale * (1 + integers(case.seed, "a-fraction", a_scale.shape, 0, 15) / 16)
        b_scale = b_scale * (1 + integers(case.seed, "b-fraction", b_scale.shape, 0, 15) / 16)
    return (
        _fp8(case, "a", (m, k), a_power),
        _fp8(case, "w", (n, k), w_power),
        torch.from_numpy(np.asarray(a_scale)).float(),
        torch.from_numpy(np.asarray(b_scale)).float(),
        bias,
    )


def _fp8(case: Case, stream: str, shape: tuple[int, int], power: NDArray[np.float64]) -> torch.Tensor:
    """Integers times a power of two for each row, some zeros negative: every value is an e4m3fn code."""
    import numpy as np

    torch = import_torch()
    values = integers(case.seed, stream, shape, -case.limit, case.limit).astype(np.float32)
    values *= power[:, None].astype(np.float32)
    negative = random_bytes(case.seed, f"{stream}-sign", values.size).reshape(shape) < 128
    values[(values == 0) & negative] = -0.0
    return torch.from_numpy(values).to(torch.float8_e4m3fn)


def _random(case: Case) -> tuple[Any, ...]:
    import numpy as np

    torch = import_torch()
    x = bell(case.seed, "x", (case.m, case.k))
    x *= np.ldexp(1.0, integers(case.seed, "x-gain", (case.m, 1), -3, 3))
    x *= np.where(integers(case.seed, "x-outlier", (1, case.k), 0, 255) == 0, 30.0, 1.0)
    w = bell(case.seed, "w", (case.n, case.k)) * np.ldexp(1.0, integers(case.seed, "w-gain", (case.n, 1), -5, -3))
    rounded = torch.from_numpy(x).to(torch.bfloat16)
    static = (rounded.abs().amax().float() / quantize.E4M3_MAX) if case.scaling.a == "shared" else None
    codes, a_scale = quantize.activations(rounded, case.scaling, static)
    weight, w_scale = quantize.weight(torch.from_numpy(w).to(torch.bfloat16), weight_granularity(case.scaling))
    bias = torch.from_numpy(bell(case.seed, "bias", (case.n,))).to(torch.bfloat16) if case.bias else None
    return codes, weight, a_scale, w_scale.float(), bias


def weight_granularity(scaling: Scaling) -> Granularity:
    """How the weight of a scaling is quantized."""
    if scaling.b == "group":
        return PerBlock(*scaling.b_block)
    return PerChannel() if scaling.b == "row" else PerTensor()


def certificate(operands: Operands) -> int:
    """The largest of :func:`bounds`."""
    return int(bounds(operands).max().item())


def bounds(operands: Operands) -> torch.Tensor:
    """The largest partial sum, in grid steps, that any order of any subset of the products of an output can reach.

    [M, N]. Below ``EXACT_STEPS`` no accumulator rounds: a product is aligned to at most twice the grid of 2**14 steps.
    """
    a, w = _grid(operands.a), _grid(operands.weight)
    # Of all positive and of all negative products, the larger sum.
    return ((a.abs() @ w.abs().T) + (a @ w.T).abs()) / 2


def _grid(codes: torch.Tensor) -> torch.Tensor:
    """FP8 values as integers on the coarsest grid that holds their row."""
    units = (codes.double() * 512).long()  # 2**-9 is the smallest e4m3 value
    lowest_bit = units & -units
    step = lowest_bit.masked_fill(units == 0, 1 << 20).amin(dim=1, keepdim=True)
    return (units // step).float()


def expected(operands: Operands) -> torch.Tensor:
    """The float64 result of the oracle."""
    return reference.scaled_mm(
        operands.a,
        operands.weight,
        operands.a_scale,
        operands.weight_scale,
        operands.scaling,
        bias=operands.bias,
    )


def output_digest(out: torch.Tensor) -> str:
    """sha256 of a result. The sign of a zero depends on the order of a sum: it does not count."""
    return digest(out + 0.0)


def digest(*tensors: torch.Tensor | None) -> str:
    """sha256 over the bytes of tensors."""
    torch = import_torch()
    found = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def inputs_digest(operands: Operands) -> str:
    """sha256 over everything that a kernel is given."""
    return digest(operands.a, operands.weight, operands.a_scale, operands.weight_scale, operands.bias)
