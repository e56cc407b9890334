"""Patterns that may take forever are known by their form, and ordinary ones pass."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit.errors import FormatError
from ckptkit.model.backtracking import may_run_away
from ckptkit.model.select import Regex

ENDLESS = [
    r"([a-z_.0-9]+)+!",
    r"(a+)+",
    r"(a|a)*b",
    r"(a|aa)*b",
    r"(a|ab|b)*c",
    r"(.*\.)*x",
    r"((a*)b?)*c",
    r"(\w+_)*proj",
    r"(a{1,2})*b",
    r"(a+){10}b",
    r"(x+x+)+y",
    r"([^.]+\.?)+!",
    r"(?!(a+)+b).*",
    r"(?i:(a+A?)+)!",
    r".*.*.*.*.*!",
    r".*a.*a.*a.*a.*a.*a.*!",
    r"((a+){1,3}){1,3}b",
    r"((?:)*a)*b",
    r"(((?=a))*a)*b",
    "(?:" + "a?" * 300 + ")*b",
    "(?:" * 3000 + "a" + ")" * 3000,
    "a{99999999999}",
]
ORDINARY = [
    r".*lm_head",
    r"model\.layers\.\d+\.mlp\.experts\.\d+\..*",
    r".*(q|k|v)_proj$",
    r"^(?!.*mlp).*$",
    r".*layers.*mlp.*experts.*(gate|up)_proj.*",
    r"(?:.*\.)?layers\.\d+\.((mlp\.)?experts\.\d+\.)?(gate|up)_proj",
    r"model\.layers\.([0-9]|1[0-9]|2[0-7])\.mlp.*",
    r"(?:[a-z]+\.)+\d+",
    r"[a-z]+(?:_[a-z]+)*",
    r"\bvisual\b.*",
    "(",
]


@pytest.mark.parametrize("pattern", ENDLESS)
def test_endless_forms_are_refused_and_named(pattern: str) -> None:
    assert may_run_away(pattern)
    with pytest.raises(FormatError, match="may take forever") as error:
        Regex(pattern).matches("model.layers.0.self_attn.q_proj")
    assert (error.value.faults[0].found or "").startswith(repr(f"re:{pattern}")[:9])


@pytest.mark.parametrize("pattern", ORDINARY)
def test_ordinary_patterns_pass(pattern: str) -> None:
    assert not may_run_away(pattern)


_PIECES = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", r"\d", r"\w"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,3}", "{2}"])).map("({0[0]}){0[1]}".format),
    ),
    max_leaves=5,
)


@given(pattern=_PIECES)
def test_what_passes_ends(pattern: str) -> None:
    """Names that make a bad pattern try every way: all of its letters, and at the end one that it lacks."""
    if may_run_away(pattern + "!"):
        return
    regex = Regex(pattern + "!")
    for name in ("a" * 24 + "?", "ab" * 12 + "?", "a1" * 12 + "?"):
        begin = time.process_time()
        regex.matches(name)
        assert time.process_time() - begin < 0.5, pattern
