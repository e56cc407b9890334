"""Entries that cannot tell the experts of a layer apart do not, in any style; those that do are known by their form."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckptkit.engines.entries_of_experts import tells_experts_apart
from ckptkit.engines.matchers import Style
from ckptkit.engines.skip_lists import Reading

_STACKS = (
    "model.layers.{}.mlp.experts.{}.up_proj",
    "layers.{}.s.experts.{}.w1",
    "model.layers.{}.ffn.experts.{}.gate.up",
)
_NUMBERS = ("0", "1", "7", "17", "177", "71", "00")
_BITS = (
    *("model", "layers", "mlp", "experts", "perts", "s", "up_proj", "w1", "gate", "up", "proj", "a"),
    *("0", "1", "7", "17", ".", "..", "*", ".*", "?", ".?", "\\.", "\\d", "\\d+", "[0-9]", "[.]", ".+", "{2}"),
    *("(", ")", "|", "(?:", "^", "$", "-", "_", "re:"),
)
_ENTRIES = st.lists(st.sampled_from(_BITS), min_size=1, max_size=9).map("".join)


def _answers(entry: str, layer: str, stack: str) -> set[tuple[bool, ...]]:
    """What every style says of a layer's experts: one answer where they are not told apart."""
    matchers = [Reading(style, (), experts_as_one=one).matcher([entry]) for style in Style for one in (False, True)]
    return {tuple(matches(stack.format(layer, number)) for matches in matchers) for number in _NUMBERS}


@settings(max_examples=800, deadline=None)
@given(_ENTRIES)
@example("perts.17.up_proj")
@example("7.up_proj")
@example("re:.*[.].[.]up_proj")
@example("re:.*s...up_proj")
@example("re:.*(a|)..up_proj")
@example("re:.*.*.*up_proj")
@example("*?.up_proj")
def test_an_entry_that_is_said_not_to_tell_experts_apart_does_not(entry: str) -> None:
    if not tells_experts_apart(entry):
        for stack in _STACKS:
            for layer in ("0", "17"):
                assert len(_answers(entry, layer, stack)) == 1, (entry, stack)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "lm_head",
            "model.layers.17.mlp.gate",
            "model.layers.0.self_attn.q_a_proj",
            "mlp.shared_expert_gate",
            "Linear",
        ),
        *(
            "re:.*mlp.gate$",
            r"re:.*\.gate$",
            "re:visual.*",
            "re:.*(q|k)_proj",
            "*mlp.gate",
            "*.lm_head",
            "model.embed*",
        ),
    ],
)
def test_entries_as_tools_write_them_are_known_not_to(entry: str) -> None:
    assert not tells_experts_apart(entry)


@pytest.mark.parametrize("entry", ["17.up_proj", "s.1", "re:.*[.].[.]up_proj"])
def test_some_entries_tell_them_apart_and_are_known_to(entry: str) -> None:
    assert len(_answers(entry, "0", _STACKS[0])) > 1
    assert tells_experts_apart(entry)
