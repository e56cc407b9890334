"""Patterns that may take forever are known by their form, and ordinary ones pass."""

from __future__ import annotations

import sys
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
    r"(\d+\w)*b",
    r"(\s+ )*b",
    r"(\D+a)*b",
    r"(\S+a)*b",
    r".*(?:ab|).*(?:ab|).*(?:ab|).*",
    r".*.*.*.*!",
    r".*a.*b.*c.*d.*e.*f",
    r"(?:.*a.*b.*c.*d.*e.*f|x)y",
    r"a{0,5}b{0,5}c{0,5}d{0,5}e{0,5}f{0,5}g",
    r"(?:a*b){3}(?:c*d){3}e",
    r"(a+){2}b",
    r"(?=(a+)+b).*",
    r"(x)?(?(1)(a+)+b|c)",
    r"(x)?(?(1)c|(a+)+b)",
    r"(?:a+a?b?c)*!",
    r"(?:a+a?b)*!",
    r"(?:(?:ab?c)+b)*!",
    r"(?:(?:xy|zw)+w)*!",
    r"(?:ab|cd|ae)*!",
    r"(?:(?:ab|)a)*!",
    r"(?:(?:a|b?|c?)d)*!",
    r"(?:[^a-c]+B)*!",
    r"(?:(?:xa{2}b{2})+a)*!",
    "(?:" + "ab" * 100 + "a)*!",
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
    r"(\d+[a-z])*b",
    r"(\D+1)*b",
    r"(\s+a)*b",
    r"(\S+ )*b",
    r"(\W+a)*b",
    r".*(?:ab|cd).*(?:ab|cd).*(?:ab|cd).*",
    r".*.*.*!",
    r".*a.*.*.*!",
    r"a*b*c*d*!",
    r".*a.*b.*c.*d.*e",
    r".*a.*b.*c.*d.*e.*$",
    r"a?b?c?d?e?f?g",
    r"a{0,4}b{0,4}c{0,4}d{0,4}e{0,4}f{0,4}g",
    r"(?:a*b){3}(?:c*d){2}e",
    r"(a+)?b",
    r"(?:a+\bb)*!",
    r"(?:a+(?=b)b)*!",
    r"(?:a+(?!c)b)*!",
    r"(?:a+(?:bc|de))*!",
    r"(?:a?b+c)*!",
    r"(?:(?:xy|zw)+v)*!",
    r"(?:ab|cd)*!",
    r"(?:(?:ab|)c)*!",
    "(?:" + "ab" * 100 + ")*!",
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


@pytest.mark.parametrize(
    ("repeated", "following", "share"),
    [
        ("a", "A", True),
        ("a", "b", False),
        ("é", "é", True),
        ("é", "b", False),
        ("[ab]", "a", True),
        ("[ab]", "c", False),
        ("[a-c]", "b", True),
        ("[a-c]", "C", True),
        ("[a-c]", "d", False),
        ("[a-\x7f]", "é", False),
        ("[a-\x80]", "é", True),
        ("[à-ÿ]", "é", True),
        ("[à-ÿ]", "a", False),
        ("[a1-3]", "a", True),
        (r"[a\d]", "a", True),
        (r"[\da]", "5", True),
        (r"[\d-]", "a", False),
        ("[^.]", "b", True),
        ("[^.]", r"\.", False),
        (r"\.", "[^.]", False),
        ("[^é]", "à", True),
        ("[^A]", "a", True),
        ("[^a]", "A", True),
        ("[^.-:]", "/", False),
        ("[^a-c]", "d", True),
        ("[^a-c]", "B", True),
        (r"[^\d]", "é", True),
        (".", "a", True),
    ],
)
def test_a_loop_is_endless_where_its_parts_can_take_each_others_text(
    repeated: str, following: str, share: bool
) -> None:
    assert may_run_away(f"(?:{repeated}+{following})*!") == share


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no such patterns before Python 3.11")
@pytest.mark.parametrize("pattern", [r"(?>a+)+!", r"(?:a++)+!", r"(?:(?>a+b?)a)*!"])
def test_what_never_gives_back_is_judged_alike(pattern: str) -> None:
    assert may_run_away(pattern)


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
