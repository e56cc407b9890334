"""The keys of configs as facts: rules hold for a format whose config is spelled otherwise."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ckptkit.checks.config_keys import keys_of, layers_of, said
from ckptkit.formats.base import ConfigFault, ConfigReader
from ckptkit.formats.config_block import Section
from ckptkit.formats.keys import EACH, ConfigKeys, changed_at, values_at
from ckptkit.formats.quark.dialect import NATIVE
from ckptkit.rules.dtypes.stored_types import declares_e8m0
from tests.damage import QUARK, load
from tests.rules.case import context_of

SPECS = {"default": {"weight": {"kind": "E8M0"}}, "own": {"x": {"weight": [{"kind": "f32"}, 3]}, "y": None}}


@pytest.mark.parametrize(
    ("way", "found"),
    [
        ((), [SPECS]),
        (("default", "weight", "kind"), ["E8M0"]),
        (("own", "*", "weight", "*", "kind"), ["f32"]),
        (("own", "*", "weight", "kind"), []),
        (("own", "x", "weight", "0", "kind"), []),
        (("elsewhere", "*"), []),
    ],
)
def test_values_at_a_way(way: tuple[str, ...], found: list[Any]) -> None:
    assert list(values_at(SPECS, way)) == found


def test_values_are_changed_in_a_copy() -> None:
    before = {"a": {"x": {"w": "B"}, "y": 3}, "w": "B"}
    assert changed_at(before, ("a", "*", "w"), str.lower) == {"a": {"x": {"w": "b"}, "y": 3}, "w": "B"}
    assert changed_at(before, ("a", "z", "w"), str.lower) == before
    assert before["a"] == {"x": {"w": "B"}, "y": 3}


def test_a_reader_says_of_which_kind_a_fault_is() -> None:
    reader = ConfigReader(kinds={"cache": "one", "cache.bits": "two"})
    for path in ("cache", "cache.bits", "cache.bits.of", "cache.words", "cached", "else.cache"):
        reader.wrong(path, "something else", 3)
    assert [fault.kind for fault in reader.faults] == ["one", "two", "two", "one", "config-value", "config-value"]
    assert all(isinstance(fault, ConfigFault) for fault in reader.faults)


def test_rules_ask_the_dialect_for_its_keys() -> None:
    """Powers of two and layers, where another format would say so."""
    keys = ConfigKeys(layers="parts", exponents=(("parts", EACH, "kind"),))
    dialect = replace(NATIVE, keys=keys)
    block = {"parts": {"x": {"kind": "UE8M0"}}, "layer_quant_config": {}}
    place = Section(block, ("quantization_config",), "config.json", keys, ())
    context: Any = SimpleNamespace(dialect=dialect, block=block, section=place)
    assert declares_e8m0(context) and layers_of(context) == context.block["parts"]
    assert said(context, keys_of(context).blocks) is None
    context.dialect, context.section = None, place._replace(keys=ConfigKeys())
    assert not declares_e8m0(context) and layers_of(context) == {} and keys_of(context) == ConfigKeys()


def test_layers_of_quark_are_its_entries() -> None:
    checkpoint = load(QUARK)
    checkpoint.block["layer_quant_config"] = {"*q_proj": {"weight": None}}
    assert layers_of(context_of(checkpoint)) == {"*q_proj": {"weight": None}}
    checkpoint.block["layer_quant_config"] = None
    assert layers_of(context_of(checkpoint)) == {}
