"""FP8 codes and scales of plain weights, against the definition: the nearest of 253 values, ties to the even code."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ckptkit.errors import ContainerError
from ckptkit.formats.compressed_tensors.presets import PRESETS as CT
from ckptkit.formats.fp8.presets import PRESETS as VLLM
from ckptkit.formats.modelopt.presets import PRESETS as MODELOPT
from ckptkit.model.numbers import numbers, value_of
from ckptkit.operations import outputs, quantize, stream
from ckptkit.operations.operation import Parameters
from ckptkit.operations.quantize import Arithmetic
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import Computed, TensorRef
from tests.raw import MemorySource

Floats = NDArray[np.float64]

LLM_COMPRESSOR, BLOCKS, GRIDS = CT[0].arithmetic, VLLM[0].arithmetic, MODELOPT[0].arithmetic
ARITHMETICS = {"llm-compressor": LLM_COMPRESSOR, "vLLM": BLOCKS, "ModelOpt": GRIDS, "tensors": VLLM[1].arithmetic}
_E4M3 = np.array([value_of("F8_E4M3", code) for code in range(0x7F)])


def nearest(values: Floats) -> NDArray[np.uint8]:
    """The code whose value is nearest, of two equally near ones the even code; beyond the largest, that one."""
    found = np.empty(values.size, np.uint8)
    for start in range(0, values.size, 4096):
        some = np.abs(values.ravel()[start : start + 4096])[:, None]
        distance = np.abs(np.minimum(some, 448) - _E4M3)
        distance[:, 1::2] = np.nextafter(distance[:, 1::2], np.inf)  # an odd code loses where it is no nearer
        found[start : start + 4096] = distance.argmin(axis=1)
    return (found | np.where(np.signbit(values.ravel()), 0x80, 0).astype(np.uint8)).reshape(values.shape)


def rounded(values: Floats, dtype: str) -> Floats:
    """Values as a type holds them, to nearest even."""
    with np.errstate(over="ignore"):
        if dtype == "F16":
            return values.astype(np.float16).astype(np.float64)
        single = values.astype(np.float32)
    if dtype == "F32":
        return single.astype(np.float64)
    bits = single.view(np.uint32).astype(np.uint64)
    whole = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16
    return whole.astype(np.uint32).view(np.float32).astype(np.float64)


def expected(weight: Floats, block: list[int], p: Parameters) -> tuple[NDArray[np.uint8], Floats]:
    """Codes and scales of a matrix, block by block."""
    rows, columns = weight.shape
    height, width = (block[0] or rows, block[1] or columns)
    codes = np.empty(weight.shape, np.uint8)
    scales = np.empty((-(-rows // height), -(-columns // width)))
    for i, j in np.ndindex(*scales.shape):
        part = np.s_[i * height : (i + 1) * height, j * width : (j + 1) * width]
        largest = float(np.abs(weight[part]).max())
        if largest:
            largest = max(largest, p["least_magnitude"])
        scale = rounded(rounded(np.array(largest / 448), "F32"), p["scale_dtype"])
        scales[i, j] = float(scale) or p["zero_scale"]
        if p["reciprocal"]:
            quotients = rounded(weight[part] * rounded(np.array(1 / scales[i, j]), "F32"), "F32")
        else:
            quotients = rounded(weight[part] / scales[i, j], "F32")
        codes[part] = nearest(rounded(quotients, p["quotient_dtype"]))
    return codes, scales


def stored(
    dtype: str, values: Floats | None, shape: tuple[int, ...], data: bytes = b""
) -> tuple[TensorRef, MemorySource]:
    if values is not None:
        kind = {"F16": np.float16, "F32": np.float32}.get(dtype)
        data = values.astype(kind).tobytes() if kind else _upper(values)
    return TensorRef("t", dtype, shape, "file", 3, len(data)), MemorySource({"file": b"..." + data + b"..."})


def _upper(values: Floats) -> bytes:
    return (rounded(values, "BF16").astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()


def made(output: OutputTensor, source: MemorySource, begin: int = 0, end: int | None = None) -> bytes:
    payload = output.payload
    assert isinstance(payload, Computed)
    return b"".join(stream.stream(payload, source, begin, payload.nbytes if end is None else end))


def both(tensor: TensorRef, arithmetic: Arithmetic, block: list[int]) -> tuple[OutputTensor, OutputTensor]:
    parameters = arithmetic.parameters(tensor.dtype, block)
    codes = outputs.computed("t", "quantize", (tensor,), parameters)
    return codes, outputs.computed("t_scale", "quantization-scale", (tensor,), parameters)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_every_16_bit_quotient_goes_to_the_nearest_code(dtype: str) -> None:
    values = numbers(dtype, np.arange(1 << 16, dtype="<u2").tobytes())
    found = np.asarray(quantize._table(dtype))
    is_number = ~np.isnan(values)
    assert np.array_equal(found[is_number], nearest(values[is_number]))


def _halfway() -> Iterator[float]:
    """Every half-way case of E4M3, and the floats next to it on both sides."""
    for low, high in itertools.pairwise(_E4M3):
        middle = np.float32((low + high) / 2)
        yield from (float(np.nextafter(middle, np.float32(side))) for side in (-np.inf, np.inf))
        yield float(middle)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=50))
def test_every_float32_quotient_goes_to_the_nearest_code(values: list[float]) -> None:
    wide = np.array([*_halfway(), *values, 448.0, 464.0, 1e38, -0.0, 2.0**-149], np.float32)
    both_signs = np.concatenate([wide, -wide])
    found = np.empty(both_signs.shape, np.uint8)
    quantize._encode(both_signs, "F32", found)
    assert np.array_equal(found, nearest(both_signs.astype(np.float64)))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("name", ARITHMETICS)
@pytest.mark.parametrize("block", [[1, 0], [4, 8], [0, 0]])
@given(data=st.data())
def test_codes_and_scales_are_those_of_the_definition(
    dtype: str, name: str, block: list[int], data: st.DataObject
) -> None:
    rows, columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 20))
    spread = data.draw(st.sampled_from([0.0, 1.0, 6.0]))
    seed = data.draw(st.integers(0, 1 << 30))
    random = np.random.default_rng(seed)
    weight = random.standard_normal((rows, columns)) * np.exp(spread * random.standard_normal((rows, columns)))
    weight[random.random((rows, columns)) < 0.1] = 0
    weight[random.random(rows) < 0.2] = 0
    if dtype == "F16":
        weight = np.clip(weight, -60000, 60000)
    tensor, source = stored(dtype, weight, (rows, columns))
    weight = rounded(weight, dtype)
    codes, scale = both(tensor, ARITHMETICS[name], block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "STRIPE", data.draw(st.integers(1, 300)))
        patch.setattr(quantize, "_CHUNK", data.draw(st.integers(1, 60)))
        got, alone = made(codes, source), made(scale, MemorySource(source.contents))
        beside, begin = made(scale, source), data.draw(st.integers(0, len(got)))
        assert made(codes, source, begin) == got[begin:]
    wanted, scales = expected(weight, block, codes.parameters)
    assert np.array_equal(np.frombuffer(got, np.uint8).reshape(weight.shape), wanted)
    assert np.array_equal(numbers(scale.dtype, alone).reshape(scales.shape), scales)
    assert beside == alone
    loss = outputs.loss_of(codes)
    assert loss is not None and outputs.loss_of(scale) is None
    height, width = (block[0] or rows, block[1] or columns)
    wide = np.repeat(np.repeat(scales, height, axis=0), width, axis=1)[:rows, :columns]
    off = np.abs(numbers("F8_E4M3", got).reshape(weight.shape) * wide - weight)
    assert (off <= loss.relative * np.abs(weight) + loss.absolute + loss.share * wide * 448 * 1.01).all()


def test_a_weight_is_read_once_for_its_codes_and_its_scale() -> None:
    tensor, source = stored("BF16", np.ones((300, 256)), (300, 256))
    codes, scale = both(tensor, LLM_COMPRESSOR, [1, 0])
    made(codes, source)
    read = sum(nbytes for _, _, nbytes in source.reads)
    assert read == tensor.nbytes
    assert len(made(scale, source)) == 600
    assert sum(nbytes for _, _, nbytes in source.reads) == read


def test_a_whole_tensor_takes_one_look_before() -> None:
    tensor, source = stored("BF16", np.ones((300, 256)), (300, 256))
    codes, scale = both(tensor, LLM_COMPRESSOR, [0, 0])
    made(codes, source)
    made(scale, source)
    assert sum(nbytes for _, _, nbytes in source.reads) == 2 * tensor.nbytes


def test_stripes_of_a_scale_are_bounded_by_what_they_read() -> None:
    tensor, source = stored("BF16", np.ones((4096, 2048)), (4096, 2048))
    for block in ([1, 0], [128, 128], [0, 0]):
        source.reads.clear()
        made(both(tensor, LLM_COMPRESSOR, block)[1], source)
        assert max(nbytes for _, _, nbytes in source.reads) <= stream.STRIPE


def test_each_matrix_of_a_stack_has_scales_of_its_own() -> None:
    weight = np.random.default_rng(1).standard_normal((3, 6, 10))
    tensor, source = stored("BF16", weight, weight.shape)
    codes, scale = both(tensor, BLOCKS, [4, 8])
    assert scale.shape == (3, 2, 2)
    got, scales = made(codes, source), made(scale, source)
    assert scales == made(scale, MemorySource(source.contents))
    for index, matrix in enumerate(rounded(weight, "BF16")):
        wanted, grid = expected(matrix, [4, 8], codes.parameters)
        assert got[60 * index : 60 * (index + 1)] == wanted.tobytes()
        assert np.array_equal(numbers("F32", scales).reshape(3, 2, 2)[index], grid)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("block", [[1, 0], [4, 8], [0, 0]])
def test_what_is_not_finite_is_refused_with_its_place(value: float, block: list[int]) -> None:
    data = bytearray(np.ones((5, 9), np.float32).tobytes())
    data[4 * 29 : 4 * 30] = struct.pack("<f", value)
    tensor, source = stored("F32", None, (5, 9), bytes(data))
    for output in both(tensor, GRIDS, block):
        with pytest.raises(ContainerError, match=r"t in file: the element at \[3, 2\] of a stripe is not finite"):
            made(output, source)


@pytest.mark.parametrize("largest", [2.0**-133, 2.0**-121, 2.0**-119])
def test_a_scale_whose_reciprocal_is_none_is_that_of_zeros(largest: float) -> None:
    """vLLM multiplies by 1 / scale: infinity times zero would be no number."""
    given = next(one for one in VLLM if one.name == "fp8_per_tensor").arithmetic.parameters("F32", [0, 0])
    magnitudes = np.array([[largest]], np.float32)
    scale = quantize.scales_of(magnitudes, given)
    bits = np.array([[largest, 0.0, -largest]], "<f4").view("<u4")
    codes = np.frombuffer(quantize.codes_of(bits, "F32", scale, given), np.uint8)
    assert np.isfinite(np.float32(1) / scale).all() and (codes & 0x7F != 0x7F).all() and codes[1] == 0
    assert (scale[0, 0] == np.float32(given["zero_scale"])) == (largest < 2.0**-120)
