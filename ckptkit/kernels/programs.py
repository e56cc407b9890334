"""The Triton programs, as plain functions: ``build`` turns them into kernels on first use.

Nothing here runs as it stands: ``tl`` is bound, and every function wrapped by ``triton.jit``, when a kernel is first
wanted. So this module imports without Triton, and one source serves the GPU, the interpreter and the offline
compiler.

Every product is ``D[m, n] = sum_k A[m, k] * W[n, k]`` with scales. A and W are both contiguous along K: that is how
checkpoints store W, and the only layout that Hopper's FP8 tensor cores take. Compile-time arguments:

* ``A_SCALE``, ``B_SCALE``: which elements share a scale: ``"shared"`` all, ``"row"`` one token or output channel,
  ``"group"`` also a run of K. A scale that does not depend on K is applied once, to the sum; one that does, to the
  partial product of each step.
* ``PROMOTE``: add the partial product of each step to a float32 accumulator in registers, instead of accumulating in
  the tensor core, which on Hopper keeps only 14 bits.

The order is ``(acc * a_scale) * b_scale + bias`` everywhere, so that two layouts of one scale give the same bits.
"""

# ruff: noqa: N803
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import triton.language as tl

#: Functions that the programs call.
HELPERS = ("tile_position", "finish", "encode_e4m3")
#: Functions that are launched.
PROGRAMS = ("gemm_persistent", "gemm_decode", "sum_partials", "gemm_portable", "quantize_rows")


def tile_position(tile: int, tiles_m: int, tiles_n: int, GROUP_M: tl.constexpr) -> tl.tensor:
    """The tile's row and column: ``GROUP_M`` tile rows are walked together, so that their tiles of W stay in L2."""
    width = GROUP_M * tiles_n
    first = (tile // width) * GROUP_M
    height = min(tiles_m - first, GROUP_M)
    inside = tile % width
    return first + inside % height, inside // height


def finish(
    acc: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    m: int,
    n: int,
    a_scale_ptr: tl.tensor,
    b_scale_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    A_SCALE: tl.constexpr,
    B_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
) -> tl.tensor:
    """Apply to a [rows, columns] tile the scales that do not depend on K, then the bias."""
    if A_SCALE == "row":
        acc = acc * tl.load(a_scale_ptr + rows, mask=rows < m, other=0.0)[:, None]
    elif A_SCALE == "shared":
        acc = acc * tl.load(a_scale_ptr)
    if B_SCALE == "row":
        acc = acc * tl.load(b_scale_ptr + columns, mask=columns < n, other=0.0)[None, :]
    elif B_SCALE == "shared":
        acc = acc * tl.load(b_scale_ptr)
    if HAS_BIAS:
        acc = acc + tl.load(bias_ptr + columns, mask=columns < n, other=0.0).to(tl.float32)[None, :]
    return acc


def gemm_persistent(
    a_desc: tl.tensor_descriptor,
    w_desc: tl.tensor_descriptor,
    d_desc: tl.tensor_descriptor,
    a_scale_ptr: tl.tensor,
    b_scale_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    m: int,
    n: int,
    k: int,
    a_scale_stride_m: int,
    a_scale_stride_k: int,
    b_scale_stride_n: int,
    a_stride: int,
    w_stride: int,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    SUBTILE: tl.constexpr,
    SPECIALIZE: tl.constexpr,
    PROMOTE: tl.constexpr,
    A_SCALE: tl.constexpr,
    B_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    OUT: tl.constexpr,
) -> None:
    """Prefill on Hopper: a grid as large as the chip walks all tiles; TMA descriptors load, clip and store.

    A group scale covers ``BLOCK_K`` elements of K, and a tile lies in one row of weight blocks. ``SUBTILE`` stores the
    tile in two halves: at 128x256 that frees the shared memory of one more pipeline stage. ``SPECIALIZE`` gives the
    loads to a warp of their own; Triton 3.6 does so only with descriptors that are made here, from pointers.
    """
    if SPECIALIZE:
        a_desc = tl.make_tensor_descriptor(a_desc, [m, k], [a_stride, 1], [BLOCK_M, BLOCK_K])
        w_desc = tl.make_tensor_descriptor(w_desc, [n, k], [w_stride, 1], [BLOCK_N, BLOCK_K])
        d_desc = tl.make_tensor_descriptor(d_desc, [m, n], [n, 1], [BLOCK_M, BLOCK_N])
    tiles_m = tl.cdiv(m, BLOCK_M)
    tiles_n = tl.cdiv(n, BLOCK_N)
    for tile in tl.range(
        tl.program_id(0), tiles_m * tiles_n, tl.num_programs(0), flatten=not SPECIALIZE, warp_specialize=SPECIALIZE
    ):
        tile_m, tile_n = tile_position(tile, tiles_m, tiles_n, GROUP_M)
        row = tile_m * BLOCK_M
        column = tile_n * BLOCK_N
        rows = row + tl.arange(0, BLOCK_M)
        columns = column + tl.arange(0, BLOCK_N)
        acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
        for step in range(tl.cdiv(k, BLOCK_K)):
            a = a_desc.load([row, step * BLOCK_K])
            w = w_desc.load([column, step * BLOCK_K])
            if A_SCALE == "group" or B_SCALE == "group":
                partial = tl.dot(a, w.T)
                if A_SCALE == "group":
                    offsets = rows * a_scale_stride_m + step * a_scale_stride_k
                    partial = partial * tl.load(a_scale_ptr + offsets, mask=rows < m, other=0.0)[:, None]
                if B_SCALE == "group":
                    partial = partial * tl.load(b_scale_ptr + (column // BLOCK_K) * b_scale_stride_n + step)
                acc += partial
            elif PROMOTE:
                acc += tl.dot(a, w.T)
            else:
                acc = tl.dot(a, w.T, acc)
        acc = finish(acc, rows, columns, m, n, a_scale_ptr, b_scale_ptr, bias_ptr, A_SCALE, B_SCALE, HAS_BIAS)
        if SUBTILE:
            pairs = tl.permute(tl.reshape(acc, (BLOCK_M, 2, BLOCK_N // 2)), (0, 2, 1))
            left, right = tl.split(pairs)
            d_desc.store([row, column], left.to(OUT))
            d_desc.store([row, column + BLOCK_N // 2], right.to(OUT))
        else:
            d_desc.store([row, column], acc.to(OUT))


def gemm_decode(
    a_desc: tl.tensor_descriptor,
    w_desc: tl.tensor_descriptor,
    d_ptr: tl.tensor,
    a_scale_ptr: tl.tensor,
    b_scale_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    m: int,
    n: int,
    k: int,
    a_scale_stride_m: int,
    a_scale_stride_k: int,
    b_scale_stride_n: int,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SPLIT_K: tl.constexpr,
    PROMOTE: tl.constexpr,
    A_SCALE: tl.constexpr,
    B_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    OUT: tl.constexpr,
) -> None:
    """Decode on Hopper: few tokens, so W streams as the tall operand and the tokens are the narrow one.

    The tensor core takes 64 rows at least; a narrow token tile as its row operand would fall back to float16. With
    ``SPLIT_K`` > 1 each program sums a slice of K into ``d_ptr`` as float32 [SPLIT_K, m, n], without the scales that
    do not depend on K; ``sum_partials`` adds the slices in a fixed order. No atomics: runs are bit-identical.
    """
    tiles_m = tl.cdiv(m, BLOCK_M)
    tile = tl.program_id(0)
    split = tl.program_id(1)
    row = (tile % tiles_m) * BLOCK_M
    column = (tile // tiles_m) * BLOCK_N
    rows = row + tl.arange(0, BLOCK_M)
    columns = column + tl.arange(0, BLOCK_N)
    steps = tl.cdiv(k, BLOCK_K)
    each = tl.cdiv(steps, SPLIT_K)
    acc = tl.zeros((BLOCK_N, BLOCK_M), dtype=tl.float32)
    for step in range(split * each, min(steps, (split + 1) * each)):
        w = w_desc.load([column, step * BLOCK_K])
        a = a_desc.load([row, step * BLOCK_K])
        if A_SCALE == "group" or B_SCALE == "group":
            partial = tl.dot(w, a.T)
            if A_SCALE == "group":
                offsets = rows * a_scale_stride_m + step * a_scale_stride_k
                partial = partial * tl.load(a_scale_ptr + offsets, mask=rows < m, other=0.0)[None, :]
            if B_SCALE == "group":
                partial = partial * tl.load(b_scale_ptr + (column // BLOCK_K) * b_scale_stride_n + step)
            acc += partial
        elif PROMOTE:
            acc += tl.dot(w, a.T)
        else:
            acc = tl.dot(w, a.T, acc)
    result = tl.trans(acc)
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    offsets = rows[:, None].to(tl.int64) * n + columns[None, :]
    if SPLIT_K == 1:
        result = finish(result, rows, columns, m, n, a_scale_ptr, b_scale_ptr, bias_ptr, A_SCALE, B_SCALE, HAS_BIAS)
        tl.store(d_ptr + offsets, result.to(OUT), mask=inside)
    else:
        tl.store(d_ptr + split.to(tl.int64) * m * n + offsets, result, mask=inside)


def sum_partials(
    parts_ptr: tl.tensor,
    d_ptr: tl.tensor,
    a_scale_ptr: tl.tensor,
    b_scale_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    m: int,
    n: int,
    SPLIT_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    A_SCALE: tl.constexpr,
    B_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    OUT: tl.constexpr,
) -> None:
    """Add the slices of a split K in order, then scales, bias and rounding: the second half of ``gemm_decode``."""
    rows = tl.program_id(0) + tl.arange(0, 1)
    columns = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (rows[:, None] < m) & (columns[None, :] < n)
    offsets = rows[:, None].to(tl.int64) * n + columns[None, :]
    size = tl.cast(m, tl.int64) * n
    acc = tl.zeros((1, BLOCK_N), dtype=tl.float32)
    for split in range(SPLIT_K):
        acc += tl.load(parts_ptr + split * size + offsets, mask=inside, other=0.0)
    acc = finish(acc, rows, columns, m, n, a_scale_ptr, b_scale_ptr, bias_ptr, A_SCALE, B_SCALE, HAS_BIAS)
    tl.store(d_ptr + offsets, acc.to(OUT), mask=inside)


def gemm_portable(
    a_ptr: tl.tensor,
    w_ptr: tl.tensor,
    d_ptr: tl.tensor,
    a_scale_ptr: tl.tensor,
    b_scale_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    m: int,
    n: int,
    k: int,
    a_stride: int,
    w_stride: int,
    a_scale_stride_m: int,
    a_scale_stride_k: int,
    b_scale_stride_n: int,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP_M: tl.constexpr,
    A_GROUP: tl.constexpr,
    B_GROUP_N: tl.constexpr,
    B_GROUP_K: tl.constexpr,
    PROMOTE: tl.constexpr,
    A_SCALE: tl.constexpr,
    B_SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    OUT: tl.constexpr,
) -> None:
    """Any chip, any shape, any row stride, any group size that BLOCK_K divides: pointers and masks, one tile each."""
    tile_m, tile_n = tile_position(tl.program_id(0), tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N), GROUP_M)
    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    a_rows = a_ptr + rows[:, None].to(tl.int64) * a_stride
    w_rows = w_ptr + columns[None, :].to(tl.int64) * w_stride
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(tl.cdiv(k, BLOCK_K)):
        depth = step * BLOCK_K + tl.arange(0, BLOCK_K)
        a = tl.load(a_rows + depth[None, :], mask=(rows[:, None] < m) & (depth[None, :] < k), other=0.0)
        w = tl.load(w_rows + depth[:, None], mask=(columns[None, :] < n) & (depth[:, None] < k), other=0.0)
        if A_SCALE == "group" or B_SCALE == "group":
            partial = tl.dot(a, w)
            if A_SCALE == "group":
                offsets = rows * a_scale_stride_m + (step * BLOCK_K // A_GROUP) * a_scale_stride_k
                partial = partial * tl.load(a_scale_ptr + offsets, mask=rows < m, other=0.0)[:, None]
            if B_SCALE == "group":
                blocks = (columns // B_GROUP_N) * b_scale_stride_n + step * BLOCK_K // B_GROUP_K
                partial = partial * tl.load(b_scale_ptr + blocks, mask=columns < n, other=0.0)[None, :]
            acc += partial
        elif PROMOTE:
            # The limit changes nothing within one step, but keeps Triton from folding the addition into the product:
            # outside Hopper it would, and so undo the promotion.
            acc += tl.dot(a, w, max_num_imprecise_acc=BLOCK_K)
        else:
            acc = tl.dot(a, w, acc)
    acc = finish(acc, rows, columns, m, n, a_scale_ptr, b_scale_ptr, bias_ptr, A_SCALE, B_SCALE, HAS_BIAS)
    offsets = rows[:, None].to(tl.int64) * n + columns[None, :]
    tl.store(d_ptr + offsets, acc.to(OUT), mask=(rows[:, None] < m) & (columns[None, :] < n))


def encode_e4m3(values: tl.tensor) -> tl.tensor:
    """The e4m3fn codes of float32 values within [-448, 448] or NaN, rounded to nearest even, by integer arithmetic.

    For places whose own conversion cannot be trusted: the interpreter truncates and wraps, Ada rounds to float16 first.
    """
    bits = values.to(tl.int32, bitcast=True)
    magnitude = bits & 0x7FFFFFFF
    # Normal: add half a step of the 20 bits that go (ties to even), drop them, rebias the exponent from 127 to 7.
    normal = ((magnitude + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20) - 960
    # Below 2**-6 the step is 2**-9, which is the step of a float32 in [2**14, 2**15): let the addition round.
    shifted = magnitude.to(tl.float32, bitcast=True) + 16384.0
    subnormal = shifted.to(tl.int32, bitcast=True) & 0xFF
    code = tl.where(magnitude < 0x3C800000, subnormal, normal)
    code = tl.where(magnitude > 0x7F800000, 0x7F, code)
    return (code | ((bits >> 24) & 0x80)).to(tl.uint8)


def quantize_rows(
    x_ptr: tl.tensor,
    codes_ptr: tl.tensor,
    scale_ptr: tl.tensor,
    k: int,
    x_stride: int,
    groups: int,
    width: int,
    FLOOR: tl.constexpr,
    FLOOR_AMAX: tl.constexpr,
    BLOCK: tl.constexpr,
    HARDWARE: tl.constexpr,
) -> None:
    """Dynamic quantization: one program per row and group of ``width`` elements.

    ``scale = max(max(amax, FLOOR_AMAX) / 448, FLOOR)`` and ``code = e4m3(clamp(x / scale))`` with IEEE divisions. The
    maximum is taken over the bits, in which a NaN is largest, so that it cannot vanish.
    """
    row = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1)
    start = group * width
    stop = min(start + width, k)
    biggest = tl.zeros((BLOCK,), dtype=tl.int32)
    for step in range(tl.cdiv(width, BLOCK)):
        depth = start + step * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * x_stride + depth, mask=depth < stop, other=0.0).to(tl.float32)
        biggest = tl.maximum(biggest, x.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    floor = tl.full((1,), FLOOR_AMAX, dtype=tl.float32).to(tl.int32, bitcast=True)
    amax = tl.maximum(tl.max(biggest, axis=0), floor).to(tl.float32, bitcast=True)
    scale = tl.div_rn(amax, tl.full((1,), 448.0, dtype=tl.float32))
    scale = tl.where(scale < FLOOR, FLOOR, scale)
    tl.store(scale_ptr + row * groups + group + tl.arange(0, 1), scale)
    for step in range(tl.cdiv(width, BLOCK)):
        depth = start + step * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * x_stride + depth, mask=depth < stop, other=0.0).to(tl.float32)
        x = tl.div_rn(x, tl.broadcast_to(scale, (BLOCK,)))
        x = tl.where(x > 448.0, 448.0, tl.where(x < -448.0, -448.0, x))
        target = codes_ptr + row * k + depth
        if HARDWARE:
            tl.store(target, x.to(tl.float8e4nv), mask=depth < stop)
        else:
            tl.store(target, encode_e4m3(x), mask=depth < stop)
