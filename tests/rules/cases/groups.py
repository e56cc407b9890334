"""Modules whose scales stand for groups of a row: NVFP4, MXFP4, MXFP8."""

from __future__ import annotations

from tests.damage import MutableCheckpoint, drop, shape
from tests.rules.case import Case

NVFP4 = "llama-block-aligned/modelopt-nvfp4"
MXFP8 = "llama-block-aligned/modelopt-mxfp8"
_UP = r"model\.layers\.0\.mlp\.up_proj"


def _wider_groups(checkpoint: MutableCheckpoint) -> None:
    """Groups of twice as many elements."""
    checkpoint.change(
        rf"{_UP}\.weight_scale",
        lambda t: t._replace(shape=(t.shape[0], t.shape[1] // 2), data=t.data[: len(t.data) // 2]),
    )


def _as_bf16(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_UP}\.weight_scale", lambda t: t._replace(dtype="BF16", data=t.data * 2))


def _as_exponents(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_UP}\.weight_scale", lambda t: t._replace(dtype="F8_E8M0"))


def _many(checkpoint: MutableCheckpoint) -> None:
    checkpoint.change(rf"{_UP}\.weight_scale_2", lambda t: t._replace(shape=(4,), data=t.data * 4))


CASES = (
    Case("CK209", NVFP4, drop(rf"{_UP}\.weight_scale"), shape(rf"{_UP}\.weight_scale_2", 1)),
    Case("CK209", NVFP4, drop(rf"{_UP}\.weight_scale_2"), shape(rf"{_UP}\.weight_scale_2", 1)),
    Case("CK209", NVFP4, drop(rf"{_UP}\.input_scale"), shape(rf"{_UP}\.input_scale", 1)),
    Case("CK313", NVFP4, _wider_groups, shape(rf"{_UP}\.weight_scale_2", 1)),
    Case("CK313", MXFP8, shape(rf"{_UP}\.weight_scale", -1), _as_exponents),
    Case("CK314", NVFP4, _many, shape(rf"{_UP}\.weight_scale_2", 1)),
    Case("CK411", NVFP4, _as_bf16, shape(rf"{_UP}\.weight_scale_2", 1)),
    Case("CK411", MXFP8, _as_bf16, _as_exponents),
)
