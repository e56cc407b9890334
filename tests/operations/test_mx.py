"""Microscaling formats as FP8 in blocks and as plain floats: every code, every spread, ragged shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ckptkit.errors import ContainerError
from ckptkit.model.granularity import PerBlock
from ckptkit.model.numbers import dequantized, numbers, value_of
from ckptkit.operations import compiled, mx, outputs, stream
from ckptkit.operations.operation import Loss
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import Computed, TensorRef
from tests.raw import MemorySource

E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6]
E4M3 = np.array([value_of("F8_E4M3", code) for code in range(256)])


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By numpy alone, and by compiled loops where they can."""
    monkeypatch.setattr(compiled, "WARM_UP", -1 if request.param == "compiled" else math.inf)
    monkeypatch.setattr(compiled, "LONG_WARM_UP", -1)


def made(output: OutputTensor, source: MemorySource, begin: int = 0, end: int | None = None) -> bytes:
    payload = output.payload
    assert isinstance(payload, Computed)
    return b"".join(stream.stream(payload, source, begin, payload.nbytes if end is None else end))


def stored(kind: str, codes: np.ndarray, scales: np.ndarray, dtype: str = "U8") -> tuple[list[TensorRef], MemorySource]:
    """A weight, packed if it is of four bits, and its scale in one file."""
    packed = codes if kind == "F8_E4M3" else codes[..., ::2] | codes[..., 1::2] << 4
    data, own = packed.astype(np.uint8).tobytes(), scales.astype(np.uint8).tobytes()
    shape = codes.shape if dtype == "F4" else packed.shape
    weight = TensorRef("w", "F8_E4M3" if kind == "F8_E4M3" else dtype, shape, "file", 0, len(data))
    scale = TensorRef("s", "F8_E8M0", scales.shape, "file", len(data), len(own))
    return [weight, scale], MemorySource({"file": data + own})


def values(kind: str, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    found = np.array(E2M1)[codes] if kind == "F4" else E4M3[codes]
    return np.asarray(found * np.repeat(2.0 ** (scales.astype(int) - 127), 32, axis=-1))


def result(
    refs: list[TensorRef],
    source: MemorySource,
    kind: str,
    worst: int | None = None,
    block: tuple[int, int] = (128, 128),
) -> tuple[np.ndarray, OutputTensor]:
    """The dequantized values of what the two operations make, and the weight."""
    common = {"elements": kind, "block_shape": list(block)}
    more = {} if worst is None else {"worst": worst}
    weight = outputs.computed("w", "mx-to-blocks", tuple(refs), {**common, **more})
    scale = outputs.computed("s", "mx-block-scales", (refs[1],), {**common, "dtype": "F32"})
    codes = numbers("F8_E4M3", made(weight, source)).reshape(-1, *weight.shape[-2:])
    grids = numbers("F32", made(scale, source)).reshape(len(codes), -1)
    parts = [dequantized(part, grid, PerBlock(*block)) for part, grid in zip(codes, grids, strict=True)]
    return np.stack(parts).reshape(weight.shape), weight


def test_four_bits_fit_exactly_where_the_module_says() -> None:
    """The bound, swept: every magnitude at every distance from a block's scale."""
    reach = mx.ELEMENTS["F4"]
    finite = set(E4M3[~np.isnan(E4M3)])
    exact = [d for d in range(-30, 30) if all(value * 2.0**d in finite for value in E2M1)]
    assert exact == list(range(reach.exact, reach.top + 1)) and len(exact) == 15
    for d in range(reach.least - 3, reach.least + 1):
        assert all(mx.nearest(value * 2.0**d) & 0x7F == 0 for value in E2M1)
    assert mx.nearest(6 * 2.0 ** (reach.least + 1)) & 0x7F
    assert [d for d in range(-30, 30) if all(v * 2.0**d in finite for v in finite)] == [0]
    assert mx.nearest(448 * 2.0 ** mx.ELEMENTS["F8_E4M3"].least) == 0


@pytest.mark.parametrize("spread", range(18))
def test_a_block_is_exact_exactly_where_exponents_spread_by_at_most_14(spread: int) -> None:
    codes = np.tile(np.arange(16, dtype=np.uint8), (1, 4))
    for top in range(spread + 1, 255):
        scales = np.array([[top - spread, top]], np.uint8)
        refs, source = stored("F4", codes, scales)
        if spread <= 14:
            found, weight = result(refs, source, "F4")
            assert outputs.loss_of(weight) is None
            assert np.array_equal(found, values("F4", codes, scales))
        else:
            with pytest.raises(ContainerError, match=r"the group \[0, 0\] of a stripe would be rounded"):
                result(refs, source, "F4")


@st.composite
def groups(draw: st.DrawFn, kind: str, spread: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of ragged matrices and stacks, some groups all zero with the scale code 0."""
    stack = draw(st.sampled_from([(), (1,), (3,)]))
    shape = (*stack, draw(st.sampled_from([1, 5, 128, 130, 257])), 32 * draw(st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    codes = rng.integers(0, 16 if kind == "F4" else 256, shape, np.uint8)
    if kind != "F4":
        codes[(codes & 0x7F) == 0x7F] = 0x7E
    low = draw(st.integers(1, 254 - spread))
    scales = rng.integers(low, low + spread + 1, (*shape[:-1], shape[-1] // 32), np.uint8)
    empty = rng.random(scales.shape) < draw(st.sampled_from([0, 0.3, 1]))
    scales[empty] = 0
    codes[np.repeat(empty, 32, axis=-1)] = 0
    return codes, scales


@given(groups("F4", 14), st.sampled_from(["U8", "I8", "F4"]), st.sampled_from([(128, 128), (64, 32)]))
def test_exact_blocks_of_any_shape(item: tuple[np.ndarray, np.ndarray], dtype: str, block: tuple[int, int]) -> None:
    refs, source = stored("F4", *item, dtype)
    found, _ = result(refs, source, "F4", None, block)
    assert np.array_equal(found, values("F4", *item))


@given(groups("F8_E4M3", 0))
def test_eight_bits_are_exact_where_a_block_has_one_exponent(item: tuple[np.ndarray, np.ndarray]) -> None:
    refs, source = stored("F8_E4M3", *item)
    found, _ = result(refs, source, "F8_E4M3")
    assert np.array_equal(found, values("F8_E4M3", *item))


@pytest.mark.parametrize("kind", ["F4", "F8_E4M3"])
@given(data=st.data(), spread=st.integers(0, 40))
def test_what_is_rounded_is_nearest_and_within_the_promise(kind: str, data: st.DataObject, spread: int) -> None:
    codes, scales = data.draw(groups(kind, spread))
    refs, source = stored(kind, codes, scales)
    worst = int(scales.max()) - 127 - mx.ELEMENTS[kind].top if scales.any() else 0
    found, weight = result(refs, source, kind, worst)
    loss = outputs.loss_of(weight)
    assert loss == Loss(0.0, 2.0 ** (worst - 10))
    assert (abs(found - values(kind, codes, scales)) <= loss.absolute).all()


@given(groups("F4", 14), st.data())
def test_any_range_of_a_result_is_that_of_the_whole(item: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    assume(item[1].max() < 253)  # beyond, a float does not hold every value
    refs, source = stored("F4", *item)
    common = {"elements": "F4", "block_shape": [128, 128]}
    for output in (
        outputs.computed("w", "mx-to-blocks", tuple(refs), common),
        outputs.computed("s", "mx-block-scales", (refs[1],), {**common, "dtype": "F32"}),
        outputs.computed("f", "mx-dequantize", tuple(refs), {"elements": "F4", "dtype": "F32"}),
    ):
        whole = made(output, source)
        begin, end = sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=2, max_size=2)))
        assert made(output, source, begin, end) == whole[begin:end]


@pytest.mark.parametrize("kind", ["F4", "F8_E4M3"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_every_code_at_every_exponent_as_a_float(kind: str, dtype: str) -> None:
    every = np.arange(16 if kind == "F4" else 256, dtype=np.uint8)
    if kind != "F4":
        every[(every & 0x7F) == 0x7F] = 0
    highest = {"F32": 254, "BF16": 254, "F16": 142}[dtype] - (2 if kind == "F4" else 8)
    row = np.resize(every, -(-len(every) // 32) * 32)
    per_row = len(row) // 32
    codes = np.tile(row, (highest + 1, 1))
    scales = np.repeat(np.arange(highest + 1, dtype=np.uint8)[:, None], per_row, axis=1)
    refs, source = stored(kind, codes, scales)
    output = outputs.computed("f", "mx-dequantize", tuple(refs), {"elements": kind, "dtype": dtype})
    found, exact = numbers(dtype, made(output, source)).reshape(codes.shape), values(kind, codes, scales)
    loss = outputs.loss_of(output)
    assert (loss is None) == (dtype == "F32" or (dtype, kind) == ("BF16", "F4"))
    assert (abs(found - exact) <= (loss.absolute if loss else 0)).all()


def test_what_is_no_number_and_what_should_be_zero_is_refused() -> None:
    codes, scales = np.full((1, 64), 2, np.uint8), np.array([[120, 255]], np.uint8)
    refs, source = stored("F4", codes, scales)
    with pytest.raises(ContainerError, match="a scale is no number"):
        result(refs, source, "F4")
    with pytest.raises(ContainerError, match="a scale is no number"):
        made(outputs.computed("f", "mx-dequantize", tuple(refs), {"elements": "F4", "dtype": "F32"}), source)
    for worst in (None, 5):
        refs, source = stored("F4", codes, np.array([[120, 0]], np.uint8))
        with pytest.raises(ContainerError, match=r"the group \[0, 1\] of a stripe has numbers, and the scale of zeros"):
            result(refs, source, "F4", worst)
    refs, source = stored("F8_E4M3", np.full((1, 32), 0x7F, np.uint8), np.array([[120]], np.uint8))
    with pytest.raises(ContainerError, match="an element is no number"):
        result(refs, source, "F8_E4M3")
    refs, source = stored("F4", codes, np.array([[120, 254]], np.uint8))
    with pytest.raises(ContainerError, match="more than F16 holds"):
        made(outputs.computed("f", "mx-dequantize", tuple(refs), {"elements": "F4", "dtype": "F16"}), source)


@pytest.mark.parametrize("dtype", ["F32", "F8_E8M0"])
def test_scales_of_blocks_in_either_type(dtype: str) -> None:
    scales = np.array([[120, 0, 0, 0, 121], [0, 130, 0, 0, 0]], np.uint8)
    refs, source = stored("F4", np.zeros((2, 160), np.uint8), scales)
    output = outputs.computed(
        "s", "mx-block-scales", (refs[1],), {"elements": "F4", "block_shape": [128, 128], "dtype": dtype}
    )
    assert output.shape == (1, 2)
    assert list(numbers(dtype, made(output, source))) == [2.0 ** (130 - 133), 2.0 ** (121 - 133)]
