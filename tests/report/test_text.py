"""Plans, summaries and comparisons for people."""

from __future__ import annotations

import pytest

from ckptkit.conversion.comparison import Comparison, Difference
from ckptkit.model.inventory import Tally
from ckptkit.model.summary import ModuleKind, Summary
from ckptkit.report import text
from ckptkit.report.comparison_text import show_comparison
from ckptkit.report.inventory_text import show_inventory

Capture = pytest.CaptureFixture[str]
STATIC, DYNAMIC, NOT = "W8A8 FP8, static", "W8A8 FP8, dynamic", "BF16, not quantized"


@pytest.fixture(autouse=True)
def fresh_console() -> None:
    text.console.cache_clear()


def compared(*differences: Difference) -> Comparison:
    return Comparison("a", "b", differences, 4, 2, 1024)


def test_differences_of_one_kind_are_shown_once(capsys: Capture) -> None:
    schemes = [Difference(f"layers.{n}.q_proj", "scheme", STATIC, DYNAMIC) for n in range(3)]
    values = [Difference(f"layers.{n}.q.weight", f"values, the first at element {n}", f"0x{n}", "0x9") for n in (0, 7)]
    show_comparison(compared(*schemes, *values, Difference("layers.9.q_proj", "scheme", DYNAMIC, STATIC)))
    assert capsys.readouterr().out.splitlines() == [
        "differs layers.0.q_proj: scheme (and 2 like it)",
        f"    left:  {STATIC}",
        f"    right: {DYNAMIC}",
        "differs layers.0.q.weight: values, the first at element 0 (and 1 like it)",
        "    left:  0x0",
        "    right: 0x9",
        "differs layers.9.q_proj: scheme",
        f"    left:  {DYNAMIC}",
        f"    right: {STATIC}",
        "6 differences (4 quantized modules, 2 other tensors, 1 KiB compared)",
    ]


def test_many_kinds_of_differences_are_counted(capsys: Capture) -> None:
    tensors = "abcdefghijklmnop"
    show_comparison(
        compared(*(Difference(f"layers.{n}.{name}", "tensor", "present", "absent") for name in tensors for n in (0, 1)))
    )
    out = capsys.readouterr().out
    assert out.count("differs") == 12
    assert "    ... and 8 more of 4 kinds; --json lists all\n32 differences" in out


def summary(scheme: str, *modules: ModuleKind) -> Summary:
    return Summary(
        label="x",
        what="model",
        quantization=scheme,
        format="quark",
        dialect="native",
        scheme=scheme,
        architecture=None,
        shards=1,
        tally=Tally(dtypes={"BF16": (3, 10)}),
        original_bytes=20,
        ignored=(),
        modules=modules,
        scales=(),
    )


def kind(name: str, scheme: str, count: int = 2) -> ModuleKind:
    return ModuleKind(name, count, (64, 64), scheme)


def test_the_common_scheme_is_said_once(capsys: Capture) -> None:
    show_inventory(summary(f"{STATIC}, ignored: lm_head", kind("q", STATIC), kind("k", STATIC), kind("lm_head", NOT)))
    assert capsys.readouterr().out.splitlines()[-4:] == [
        " count  module   shape     other scheme",
        "     2  q        [64, 64]",
        "     2  k        [64, 64]",
        f"     2  lm_head  [64, 64]  {NOT}",
    ]
    show_inventory(summary(f"4 modules {STATIC}; 2 modules {DYNAMIC}", kind("q", STATIC, 4), kind("k", DYNAMIC)))
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"  mostly   {STATIC}",
        " count  module  shape     other scheme",
        "     4  q       [64, 64]",
        f"     2  k       [64, 64]  {DYNAMIC}",
    ]


def test_a_checkpoint_with_one_scheme_has_no_column_for_others(capsys: Capture) -> None:
    show_inventory(summary(f"{STATIC}, nothing ignored", kind("q", STATIC)))
    assert capsys.readouterr().out.splitlines()[-2:] == [" count  module  shape", "     2  q       [64, 64]"]
    show_inventory(summary("nothing"))
    assert capsys.readouterr().out.splitlines()[-1] == " count  module  shape"
