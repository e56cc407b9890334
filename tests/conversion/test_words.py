"""What a conversion and a comparison show of themselves: the line at a prompt, and the rows of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import ckptkit
from ckptkit.checks.registry import Level
from ckptkit.conversion.comparison import Comparison, Difference, Errors, NotMeasured, WeightErrors
from ckptkit.conversion.execute import Result
from ckptkit.measure.errors import Measured
from ckptkit.shown import Shown
from tests.damage import QUARK_FP8, REAL

#: 4 elements: the sum of squares of what they should be is 16, that of what is off 1.
OFF = Measured(elements=4, squares=16.0, error_squares=1.0)
WEIGHT = WeightErrors("model.layers.0.mlp.up_proj", (2, 2), "BF16", "W8A8 FP8", OFF)
ERRORS = Errors("left", (WEIGHT,), 1200, (NotMeasured("lm_head", "its shapes differ"),))
SAME = Comparison("a", "b", (), 1, 2, 0)
DIFFERENCE = Difference("lm_head", "scheme", "none", "W8A8 FP8")


def rows(shown: Shown) -> list[tuple[object, ...]]:
    return [tuple(row) for row in shown._look().rows]


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (ERRORS, "<Errors 'base: left': 1 weight off, 1,200 equal, relative error 0.25, 1 not measured>"),
        (Errors("right", (), 3), "<Errors 'base: right': 0 weights off, 3 equal>"),
        (SAME, "<Comparison 'a and b': the same model, 1 quantized module, 2 other tensors compared, level full>"),
        (
            replace(SAME, modules=2, tensors=1, differences=(DIFFERENCE,), level=Level.HEADERS),
            "<Comparison 'a and b': 1 difference, 2 quantized modules, 1 other tensor compared, level headers>",
        ),
        (
            replace(SAME, declared=(DIFFERENCE, DIFFERENCE)),
            "<Comparison 'a and b': the same model, 2 declared changes, 1 quantized module, 2 other tensors compared, "
            "level full>",
        ),
    ],
)
def test_the_line(shown: Shown, line: str) -> None:
    assert repr(shown) == line


def test_a_row_for_each_weight_and_each_difference() -> None:
    look = ERRORS._look()
    assert (look.columns, look.total) == (("weight", "error", "SNR dB", "base", "other"), 1)
    assert rows(ERRORS) == [("model.layers.0.mlp.up_proj", "0.25", "12.0", "BF16", "W8A8 FP8")]
    compared = replace(SAME, differences=(DIFFERENCE,))
    look = compared._look()
    assert (look.columns, look.total) == (("of", "differs", "left", "right"), 1)
    assert rows(compared) == [("lm_head", "scheme", "none", "W8A8 FP8")]


def test_a_result_says_what_was_moved_and_how() -> None:
    plan = ckptkit.plan(REAL / QUARK_FP8, to="ct")
    result = Result(plan, Path("out"), 1.254, {"copied": 1500, "computed": 20})
    look = result._look()
    assert repr(result) == (
        f"<Result 'out': {plan.source_format} to {plan.target_format}, {plan.verdict.value}, "
        f"{plan.cost.files} files, 1,520 bytes in 1.25 s>"
    )
    assert (look.columns, look.total) == (("bytes moved by", "bytes"), 2)
    assert rows(result) == [("copied", 1500), ("computed", 20)]
    document = result.to_json()
    assert {key: document[key] for key in document if key != "plan"} == {
        "destination": "out",
        "seconds": 1.254,
        "bytes_by_method": {"copied": 1500, "computed": 20},
    }
    assert replace(result, errors=ERRORS).to_json()["errors"] == ERRORS.to_json()
