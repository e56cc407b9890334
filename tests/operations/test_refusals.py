"""What no operation can be done to, word for word: plans of other tools, and of other hands, are read too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ckptkit.operations import outputs
from ckptkit.operations.operation import Loss, OperationError
from ckptkit.operations.table import operation
from ckptkit.storage.payload import TensorRef

Changes = Mapping[str, Any]

#: Operation -> inputs and parameters that it takes.
GOOD: Mapping[str, tuple[str, Changes]] = {
    "cast": ("F32 2", {"dtype": "BF16"}),
    "repeat": ("BF16 2", {"dtype": "F32", "shape": [4]}),
    "keep": ("F32 2x3", {}),
    "reshape": ("F32 2x3", {}),
    "take": ("F32 2x3, F32 6", {}),
    "drop": ("F32 2", {}),
    "slice": ("F32 2x3", {"first": 2, "shape": [4]}),
    "concat": ("F32 2, F32 3", {"shape": [5]}),
    "constant": ("", {"dtype": "U8", "shape": [1], "hex": "00"}),
    "dequantize": ("F8_E4M3 4x6, F32 4", {"dtype": "BF16", "block_shape": [1, 0]}),
    "relabel": ("F8_E4M3 4x4", {"dtype": "F8_E4M3FNUZ"}),
    "times-two": ("F32 1", {"power": 1}),
    "exact-cast": ("F32 1", {"dtype": "BF16"}),
    "nvfp4-dequantize": ("U8 2x32, F8_E4M3 2x4, F32 1", {"dtype": "BF16", "divides": True}),
    "mx-to-blocks": ("U8 4x32, U8 4x2", {"elements": "F4", "block_shape": [128, 128]}),
    "mx-block-scales": ("U8 4x2", {"elements": "F4", "block_shape": [128, 128], "dtype": "F32"}),
    "mx-dequantize": ("U8 4x32, U8 4x2", {"elements": "F4", "dtype": "BF16"}),
    "quantize": (
        "BF16 4x6",
        {
            "block_shape": [2, 2],
            "scale_dtype": "F32",
            "quotient_dtype": "F32",
            "zero_scale": 1.0,
            "least_magnitude": 0.0,
            "reciprocal": False,
        },
    ),
    "largest-magnitudes": ("BF16 4x6", {}),
    "largest-products": ("F8_E4M3 4x6, F32 4", {"source_block_shape": [1, 0]}),
}
_MX = "takes weights of two or three axes, and not"
_PLAIN = "takes weights of two or three axes in BF16, F16, F32, not"
_SHARE = "wants the parameter block_shape: rows and columns that share a scale"
_BLOCK = "wants the parameter block_shape: rows and columns of a block"
_MX_SCALES = "wants E8M0 scales [4, 2], and not"
_NVFP4 = "wants the parameters dtype, one of F32, BF16, F16, and divides, true or false"
_TO_MX_SCALES = "takes E8M0 scales of groups, one tensor of two or three axes"
_ONE_SCALE = "takes one scale and the parameter dtype, of BF16, F16, F32, F8_E8M0"

REFUSED: list[tuple[str, str | None, Changes, str]] = [
    ("cast", None, {"dtype": "F16"}, "there is no cast from F32 to F16"),
    ("cast", None, {"dtype": None}, "there is no cast from F32 to None"),
    ("cast", "F32 2, F32 2", {}, "takes one tensor, not 2"),
    ("repeat", "", {}, "takes one tensor, not 0"),
    ("repeat", None, {"shape": None}, "wants the parameters dtype and shape"),
    ("repeat", None, {"shape": ["x"]}, "wants the parameters dtype and shape"),
    ("repeat", None, {"dtype": "F16"}, "there is no exact cast from BF16 to F16"),
    ("repeat", "F32 2", {"dtype": "BF16"}, "there is no exact cast from F32 to BF16"),
    ("repeat", None, {"shape": [5]}, "2 elements do not fill [5] evenly"),
    ("repeat", "BF16 0", {}, "0 elements do not fill [4] evenly"),
    ("keep", "", {}, "takes one tensor, not 0"),
    ("reshape", "F32 2, F32 2", {}, "takes one tensor, not 2"),
    ("take", "F32 2", {}, "takes a tensor and one of the same dtype and size to take the value of"),
    ("take", "F32 2, BF16 2", {}, "takes a tensor and one of the same dtype and size to take the value of"),
    ("take", "F32 2, F32 3", {}, "takes a tensor and one of the same dtype and size to take the value of"),
    ("drop", None, {}, "makes no tensor"),
    ("constant", None, {"hex": None}, "wants the parameters dtype, shape and hex"),
    ("constant", None, {"hex": "0"}, "wants the parameters dtype, shape and hex"),
    ("constant", None, {"shape": 1}, "wants the parameters dtype, shape and hex"),
    ("slice", None, {"first": None}, "wants the parameters first and shape"),
    ("slice", None, {"first": -1}, "wants the parameters first and shape"),
    ("slice", None, {"shape": 4}, "wants the parameters first and shape"),
    ("slice", None, {"shape": [4.0]}, "wants the parameters first and shape"),
    ("slice", None, {"first": 3}, "[4] from element 3 on is no part of F32 [2, 3]"),
    ("slice", None, {"shape": [-1]}, "[-1] from element 2 on is no part of F32 [2, 3]"),
    ("slice", "F4 2x3", {}, "[4] from element 2 on is no part of F4 [2, 3]"),
    ("concat", "", {}, "wants tensors and the parameter shape"),
    ("concat", None, {"shape": None}, "wants tensors and the parameter shape"),
    ("concat", None, {"shape": [-5, -1]}, "wants tensors and the parameter shape"),
    ("concat", "F32 2, BF16 3", {}, "takes tensors of one dtype, whose elements end between bytes"),
    ("concat", "F4 2, F4 3", {}, "takes tensors of one dtype, whose elements end between bytes"),
    ("concat", None, {"shape": [6]}, "its inputs do not fill [6]"),
    ("dequantize", "F8_E4M3 4x6", {}, "takes a weight and its scale, not 1 tensors"),
    ("dequantize", None, {"dtype": "F64"}, "makes F32, BF16, F16, and not F64"),
    ("dequantize", "BF16 4x6, F32 4", {}, "takes FP8 weights of two or three axes, not BF16 [4, 6]"),
    ("dequantize", "F8_E8M0 4x6, F32 4", {}, "takes FP8 weights of two or three axes, not F8_E8M0 [4, 6]"),
    ("dequantize", "F8_E4M3 4, F32 4", {}, "takes FP8 weights of two or three axes, not F8_E4M3 [4]"),
    ("dequantize", "Q3 4x6, F32 4", {}, "takes FP8 weights of two or three axes, not Q3 [4, 6]"),
    ("dequantize", "F8_E4M3 4x6, F64 4", {}, "takes no scale in F64"),
    ("dequantize", None, {"block_shape": None}, _SHARE),
    ("dequantize", None, {"block_shape": [1]}, _SHARE),
    ("dequantize", None, {"block_shape": [-1, 0]}, _SHARE),
    ("dequantize", None, {"block_shape": [1.0, 0]}, _SHARE),
    ("dequantize", None, {"block_shape": [3, 2]}, "a weight [4, 6] in blocks of [3, 2] has 6 scales, not 4"),
    ("dequantize", "F8_E4M3 2x4x6, F32 4", {}, "a weight [2, 4, 6] in blocks of [1, 0] has 8 scales, not 4"),
    ("relabel", None, {"dtype": "F8_E4M3"}, "takes F8_E4M3 or F8_E4M3FNUZ, and the other one as the parameter dtype"),
    ("relabel", "F32 1", {}, "takes F8_E4M3 or F8_E4M3FNUZ, and the other one as the parameter dtype"),
    ("times-two", "F64 1", {}, "takes one scale in BF16, F16, F32, F8_E8M0"),
    ("times-two", "F32 1, F32 1", {}, "takes one scale in BF16, F16, F32, F8_E8M0"),
    ("times-two", None, {"power": 2}, "wants the parameter power: 1 or -1"),
    ("times-two", None, {"power": 0}, "wants the parameter power: 1 or -1"),
    ("exact-cast", None, {"dtype": "F64"}, _ONE_SCALE),
    ("exact-cast", "F64 1", {}, _ONE_SCALE),
    ("exact-cast", "F32 1, F32 1", {}, _ONE_SCALE),
    ("nvfp4-dequantize", "U8 2x32, F8_E4M3 2x4", {}, "takes a weight, its scale and the scale of that, not 2 tensors"),
    ("nvfp4-dequantize", None, {"divides": None}, _NVFP4),
    ("nvfp4-dequantize", None, {"dtype": "F64"}, _NVFP4),
    ("nvfp4-dequantize", "F4 2x32, U8 2, F32 1", {}, "takes weights of two or three axes in U8, and not F4 [2, 32]"),
    ("nvfp4-dequantize", "U8 64, U8 2, F32 1", {}, "takes weights of two or three axes in U8, and not U8 [64]"),
    (
        "nvfp4-dequantize",
        "U8 2x32, F8_E4M3 2x1, F32 1",
        {},
        "wants F8_E4M3 scales [2, 4], and not F8_E4M3 [2, 1]",
    ),
    ("nvfp4-dequantize", "U8 2x32, U8 2x4, F32 1", {}, "wants F8_E4M3 scales [2, 4], and not U8 [2, 4]"),
    ("nvfp4-dequantize", "I8 2x33, F8_E4M3 2x4, F32 1", {}, "wants F8_E4M3 scales [2, 4], and not F8_E4M3 [2, 4]"),
    (
        "nvfp4-dequantize",
        "U8 2x32, F8_E4M3 2x4, F32 2",
        {},
        "wants one F32 number as the second scale, not F32 [2]",
    ),
    (
        "nvfp4-dequantize",
        "U8 2x32, F8_E4M3 2x4, F16 1",
        {},
        "wants one F32 number as the second scale, not F16 [1]",
    ),
    ("mx-to-blocks", None, {"elements": "F6"}, "wants the parameter elements: F4 or F8_E4M3"),
    ("mx-to-blocks", "U8 4x32", {}, "takes a weight and its scale, not 1 tensors"),
    ("mx-to-blocks", "BF16 4x32, U8 4x2", {}, f"{_MX} BF16 [4, 32]"),
    ("mx-to-blocks", "U8 128, U8 8", {}, f"{_MX} U8 [128]"),
    ("mx-to-blocks", "U8 4x32, U8 4x1", {}, f"{_MX_SCALES} U8 [4, 1]"),
    ("mx-to-blocks", "U8 4x32, F32 4x2", {}, f"{_MX_SCALES} F32 [4, 2]"),
    ("mx-to-blocks", "U8 4x33, U8 4x2", {}, f"{_MX_SCALES} U8 [4, 2]"),
    ("mx-to-blocks", None, {"block_shape": [128]}, _BLOCK),
    ("mx-to-blocks", None, {"block_shape": [0, 32]}, _BLOCK),
    ("mx-to-blocks", None, {"block_shape": [128, 48]}, "blocks of 48 columns are not whole groups of 32"),
    (
        "mx-to-blocks",
        None,
        {"worst": "5"},
        "the parameter worst is the exponent of the largest scale of a block that is rounded",
    ),
    ("mx-block-scales", "U8 4x2, U8 4x2", {}, _TO_MX_SCALES),
    ("mx-block-scales", "U8 8", {}, _TO_MX_SCALES),
    ("mx-block-scales", "F32 4x2", {}, _TO_MX_SCALES),
    ("mx-block-scales", None, {"dtype": "BF16"}, "wants the parameters elements, and dtype: F32 or F8_E8M0"),
    ("mx-block-scales", None, {"elements": "F6"}, "wants the parameters elements, and dtype: F32 or F8_E8M0"),
    ("mx-dequantize", None, {"dtype": "F64"}, "makes F32, BF16, F16, and not F64"),
    ("mx-dequantize", None, {"transposed": True}, "only stacks are transposed: their experts are stripes"),
    ("quantize", "BF16 4x6, F32 1", {}, "takes one weight, not 2 tensors"),
    ("quantize", "F8_E4M3 4x6", {}, f"{_PLAIN} F8_E4M3 [4, 6]"),
    ("quantize", "BF16 24", {}, f"{_PLAIN} BF16 [24]"),
    ("quantize", "BF16 0x6", {}, f"{_PLAIN} BF16 [0, 6]"),
    ("quantize", None, {"block_shape": "1x0"}, _SHARE),
    ("quantize", None, {"block_shape": [1, 0, 0]}, _SHARE),
    ("quantize", None, {"block_shape": [-1, 0]}, _SHARE),
    ("quantize", None, {"block_shape": [2, 0]}, "knows blocks, rows and whole tensors, not [2, 0]"),
    ("quantize", None, {"block_shape": [0, 2]}, "knows blocks, rows and whole tensors, not [0, 2]"),
    ("quantize", "BF16 2x4x6", {"block_shape": [0, 0]}, "has no single scale for a stack"),
    ("quantize", None, {"scale_dtype": "F8_E8M0"}, "wants the parameter scale_dtype: one of BF16, F16, F32"),
    ("quantize", None, {"quotient_dtype": None}, "wants the parameter quotient_dtype: one of BF16, F16, F32"),
    ("quantize", None, {"zero_scale": None}, "wants the parameter zero_scale: a number"),
    ("quantize", None, {"least_magnitude": "0"}, "wants the parameter least_magnitude: a number"),
    ("largest-magnitudes", "F64 4x6", {}, "takes one matrix in BF16, F16, F32"),
    ("largest-magnitudes", "BF16 24", {}, "takes one matrix in BF16, F16, F32"),
    ("largest-products", "F8_E4M3 2x4x6, F32 8", {}, "takes one matrix"),
    ("largest-products", None, {"source_block_shape": None}, _SHARE),
]


def tensors(words: str) -> tuple[TensorRef, ...]:
    """``F32 2x3, BF16 4``: one tensor for each dtype and shape."""
    found = []
    for name, word in enumerate(filter(None, words.split(", "))):
        dtype, extents = word.split()
        shape = tuple(map(int, extents.split("x")))
        found.append(TensorRef(str(name), dtype, shape, "file", 0, 0))
    return tuple(found)


def test_each_takes_what_it_is_for() -> None:
    for name, (inputs, parameters) in GOOD.items():
        if name != "drop":
            assert operation(name).promise(tensors(inputs), parameters).dtype


@pytest.mark.parametrize(("name", "inputs", "changes", "words"), REFUSED)
def test_what_cannot_be_done_is_said_word_for_word(name: str, inputs: str | None, changes: Changes, words: str) -> None:
    usual, parameters = GOOD[name]
    with pytest.raises(OperationError) as error:
        outputs.computed("x", name, tensors(usual if inputs is None else inputs), {**parameters, **changes})
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("name", "inputs", "changes", "dtype", "shape"),
    [
        ("cast", None, {}, "BF16", None),
        ("repeat", None, {}, "F32", (4,)),
        ("slice", None, {}, "F32", (4,)),
        ("slice", None, {"first": 0, "shape": []}, "F32", ()),
        ("slice", None, {"first": 6, "shape": [0]}, "F32", (0,)),
        ("concat", None, {"shape": [5, 1]}, "F32", (5, 1)),
        ("concat", "F32 0", {"shape": [0]}, "F32", (0,)),
        ("take", None, {}, "F32", None),
        ("dequantize", "F8_E5M2 4x6, F8_E8M0 4", {"block_shape": [2, 3]}, "BF16", (4, 6)),
        ("dequantize", "F8_E4M3 2x4x6, F16 2", {"block_shape": [0, 0]}, "BF16", (2, 4, 6)),
        ("times-two", "BF16 7", {"power": -1}, "BF16", None),
        ("mx-dequantize", "F8_E4M3 2x4x32, U8 2x4x1", {"elements": "F8_E4M3", "transposed": True}, "BF16", (2, 32, 4)),
        ("mx-dequantize", "F4 4x32, F8_E8M0 4x1", {}, "BF16", (4, 32)),
        ("mx-block-scales", "U8 2x130x5", {"dtype": "F8_E8M0"}, "F8_E8M0", (2, 2, 2)),
        ("nvfp4-dequantize", "I8 3x2x8, F8_E4M3 3x2x1, F32 1", {"dtype": "F16"}, "F16", (3, 2, 16)),
        ("largest-products", None, {}, "F32", (4,)),
    ],
)
def test_what_is_promised(
    name: str, inputs: str | None, changes: Changes, dtype: str, shape: tuple[int, ...] | None
) -> None:
    usual, parameters = GOOD[name]
    promised = operation(name).promise(tensors(usual if inputs is None else inputs), {**parameters, **changes})
    assert (promised.dtype, promised.shape) == (dtype, shape)


@pytest.mark.parametrize(
    ("block", "shape"),
    [("0 0", (1,)), ("1 0", (4,)), ("2 4", (2, 2)), ("3 5", (2, 2)), ("4 6", (1, 1)), ("1 1", (4, 6))],
)
def test_as_many_scales_as_blocks(block: str, shape: tuple[int, ...]) -> None:
    inputs, parameters = GOOD["quantize"]
    given = {**parameters, "block_shape": [int(word) for word in block.split()]}
    promised = operation("quantization-scale").promise(tensors(inputs), given)
    assert (promised.dtype, promised.shape, promised.loss) == ("F32", shape, None)
    codes = operation("quantize").promise(tensors(inputs), given)
    assert (codes.dtype, codes.shape) == ("F8_E4M3", (4, 6))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss(0.0), "exact"),
        (Loss(0.25), "within 0.25 of the value"),
        (Loss(0.0, 0.125), "within 0.12"),
        (Loss(0.5, 2.0**-10), "within 0.5 of the value plus 0.00098"),
        (Loss(0.5, 0.0, 0.25), "within 0.5 of the value plus 0.25 of the largest that has the same scale"),
        (Loss(0.0, 1.0, 0.25) + Loss(0.0, 2.0, 0.5), "within 3 plus 0.75 of the largest that has the same scale"),
        (Loss(0.5) + Loss(0.25), "within 0.88 of the value"),
    ],
)
def test_losses_in_words(loss: Loss, words: str) -> None:
    assert str(loss) == words
