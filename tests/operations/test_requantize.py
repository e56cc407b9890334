"""Requantizing is quantizing the float32 products: the same bytes, in stripes of any height, for any two blocks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ckptkit.errors import ContainerError
from ckptkit.formats.compressed_tensors.presets import PRESETS as CT
from ckptkit.formats.fp8.presets import PRESETS as VLLM
from ckptkit.model.numbers import numbers
from ckptkit.operations import outputs, requantize, stream
from ckptkit.operations.operation import OperationError, Parameters
from ckptkit.operations.quantize import Arithmetic
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import Computed, TensorRef
from tests.raw import MemorySource

#: Rows and columns that share a scale.
BLOCKS = ([0, 0], [1, 0], [128, 128], [64, 32], [1, 32])
SHAPE = (300, 200)


def stored(
    shape: tuple[int, ...], block: list[int], scale_dtype: str = "F32"
) -> tuple[TensorRef, TensorRef, MemorySource]:
    """A weight of every code that is a number, and scales of every size."""
    random = np.random.default_rng(block[0] * 1000 + block[1])
    codes = random.integers(0, 0x7F, shape, np.uint8) | (random.integers(0, 2, shape, np.uint8) << 7)
    rows, columns = (1 if size == 0 else -(-n // size) for n, size in zip(shape[-2:], block, strict=True))
    grid = (*shape[:-2], rows, columns)
    scales = (2.0 ** random.uniform(-12, 3, grid)).astype("<f4")
    data = scales.tobytes() if scale_dtype == "F32" else (scales.view("<u4") >> 16).astype("<u2").tobytes()
    source = MemorySource({"weight": codes.tobytes(), "scale": data})
    weight = TensorRef("t.weight", "F8_E4M3", shape, "weight", 0, codes.size)
    return weight, TensorRef("t.weight_scale", scale_dtype, grid, "scale", 0, len(data)), source


def both(weight: TensorRef, scale: TensorRef, given: Parameters) -> tuple[OutputTensor, OutputTensor]:
    codes = outputs.computed("t.weight", "requantize", (weight, scale), given)
    return codes, outputs.computed("t.weight_scale", "requantization-scale", (weight, scale), given)


def made(output: OutputTensor, source: MemorySource, begin: int = 0, end: int | None = None) -> bytes:
    payload = output.payload
    assert isinstance(payload, Computed)
    return b"".join(map(bytes, stream.stream(payload, source, begin, payload.nbytes if end is None else end)))


def by_way_of_float32(
    weight: TensorRef, scale: TensorRef, source: MemorySource, block: list[int], given: Parameters
) -> tuple[bytes, bytes]:
    """Codes and scales in two operations: what is dequantized, quantized."""
    plain = outputs.computed("t", "dequantize", (weight, scale), {"dtype": "F32", "block_shape": block})
    data = made(plain, source)
    tensor, held = TensorRef("t", "F32", weight.shape, "plain", 0, len(data)), MemorySource({"plain": data})
    own = {name: value for name, value in given.items() if name != "source_block_shape"}
    codes = outputs.computed("t", "quantize", (tensor,), own)
    return made(codes, held), made(outputs.computed("s", "quantization-scale", (tensor,), own), held)


@pytest.mark.parametrize(("old", "new"), [*itertools.product(BLOCKS, BLOCKS[:4])], ids=str)
@pytest.mark.parametrize("arithmetic", [CT[0].arithmetic, VLLM[0].arithmetic], ids=["llm-compressor", "vLLM"])
def test_it_is_quantizing_what_dequantizing_gives(
    arithmetic: Arithmetic, old: list[int], new: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, scale, source = stored(SHAPE, old, "BF16")
    given = requantize.parameters(arithmetic, scale, old, new)
    wanted = by_way_of_float32(weight, scale, source, old, given)
    for stripe in (1, 1 << 14, 1 << 20):
        monkeypatch.setattr(stream, "STRIPE", stripe)
        codes, own = both(weight, scale, given)
        assert (made(codes, source), made(own, source)) == wanted  # the scales by the way
        assert made(own, source) == wanted[1]  # and alone
        assert made(codes, source, 777, 30_001) == wanted[0][777:30_001]


def test_a_stack_of_experts_is_requantized_expert_by_expert() -> None:
    weight, scale, source = stored((3, 130, 96), [64, 32])
    given = requantize.parameters(VLLM[0].arithmetic, scale, [64, 32], [128, 128])
    codes, own = both(weight, scale, given)
    assert (made(codes, source), made(own, source)) == by_way_of_float32(weight, scale, source, [64, 32], given)
    assert own.shape == (3, 2, 1)


def test_scales_that_stand_several_times_give_the_same_values() -> None:
    """Where new blocks are parts of the old ones and reach the same largest code, nothing is rounded."""
    weight, scale, source = stored((4, 64), [0, 0])
    data = bytes([0x7E] + [0x10] * 63) * 4
    source = MemorySource({"weight": data, "scale": np.float32(0.5).tobytes()})
    scale = scale._replace(nbytes=4, shape=())
    codes, own = both(weight, scale, requantize.parameters(VLLM[0].arithmetic, scale, [0, 0], [1, 0]))
    assert made(codes, source) == data and list(numbers("F32", made(own, source))) == [0.5] * 4


def test_a_code_that_is_no_number_is_refused() -> None:
    weight, scale, source = stored((4, 64), [0, 0])
    source = MemorySource({"weight": b"\x7f" * 256, "scale": np.float32(1).tobytes()})
    codes, _ = both(weight, scale, requantize.parameters(VLLM[0].arithmetic, scale, [0, 0], [1, 0]))
    with pytest.raises(ContainerError, match="not finite"):
        made(codes, source)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source_block_shape": None}, "block_shape"),
        ({"source_block_shape": [128, 128]}, "scales, not"),
        ({"block_shape": [0, 3]}, "knows blocks"),
        ({"scale_dtype": "F64"}, "scale_dtype"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, object], words: str) -> None:
    weight, scale, _ = stored((130, 64), [1, 0])
    given = {**requantize.parameters(VLLM[0].arithmetic, scale, [1, 0], [128, 128]), **change}
    with pytest.raises(OperationError, match=words):
        both(weight, scale, given)
