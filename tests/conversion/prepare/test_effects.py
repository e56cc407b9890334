"""A choice that would change nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest

import ckptkit
from ckptkit.errors import UsageError
from tests.damage import REAL

QUARK = REAL / "llama/quark-ptpc"


@pytest.mark.parametrize(
    "choice",
    [
        {"scheme": "FP8_DYNAMIC"},
        {"granularity": "channel"},
        {"scale_dtype": "F32"},
        {"drop_kv_scales": True},
        {"scales_from": REAL / "llama/quark-ptpc-kv"},
        {"mx_to_fp8": True},
    ],
    ids=lambda choice: next(iter(choice)),
)
@pytest.mark.parametrize("modules", [None, "*.mlp.*"])
def test_choices_about_a_quantization_say_nothing_of_plain_weights(choice: dict[str, Any], modules: str | None) -> None:
    (name,) = choice
    with pytest.raises(UsageError, match=rf"{name} \(--{name.replace('_', '-')}\) says nothing about plain weights"):
        ckptkit.plan(QUARK, to="bf16", modules=modules, **choice)


def test_modules_are_for_what_changes_values() -> None:
    with pytest.raises(UsageError, match="neither is asked for") as error:
        ckptkit.plan(QUARK, to="ct", modules="*.mlp.*")
    assert "--scheme" in str(error.value.help) and "--to bf16" in str(error.value.help)


def test_what_is_to_become_fp8_has_to_be_there() -> None:
    with pytest.raises(UsageError, match="has no MXFP4 or MXFP8 modules"):
        ckptkit.plan(QUARK, to="ct", mx_to_fp8=True)
