"""The index: what it says, what it must not say, and JSON that is no index at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.storage.index import build_index, is_inside, parse_index, parse_json_object
from tests import strategies

FILE = "model.safetensors.index.json"


def parse(text: str) -> tuple[dict[str, str] | None, list[str]]:
    """The weight map and the kinds of the faults."""
    index, faults = parse_index(FILE, text.encode("utf-8"))
    assert all(fault.file == FILE and fault.expected and fault.found for fault in faults)
    return None if index is None else index.weight_map, [fault.kind for fault in faults]


def test_an_index_keeps_what_is_not_ours() -> None:
    text = '{"metadata":{"total_size":8,"format":"pt"},"weight_map":{"b":"2.safetensors","層":"1.safetensors"},"x":[1]}'
    index, faults = parse_index(FILE, text.encode("utf-8"))
    assert faults == []
    assert index is not None
    assert index.shards == ("1.safetensors", "2.safetensors")
    assert index.metadata == {"total_size": 8, "format": "pt"}
    assert index.extra == {"x": [1]}
    rebuilt, faults = parse_index(FILE, build_index(index.weight_map, 8, index.metadata, index.extra))
    assert rebuilt == index
    assert faults == []


def test_a_built_index_is_sorted_and_readable_by_people() -> None:
    built = build_index({"b": "2.safetensors", "a": "1.safetensors"}, 12, {"total_size": 1}, {})
    assert built.decode("utf-8").splitlines()[:5] == [
        "{",
        '  "metadata": {',
        '    "total_size": 12',
        "  },",
        '  "weight_map": {',
    ]
    assert list(json.loads(built)["weight_map"]) == ["a", "b"]


INSIDE = ["model.safetensors", "sub/model.safetensors", "..model.safetensors", "a..b", "層.safetensors", "a b", "a\nb"]
OUTSIDE = [
    *["", "..", ".", "../a", "a/..", "a/../b", "/a", "//a", "a//b", "a/", "./a"],
    *["a\\b", "..\\a", "\\\\host\\a", "C:a", "C:\\a", "C:/a", "a\0b"],
]


@pytest.mark.parametrize("name", INSIDE)
def test_names_that_stay_inside(name: str) -> None:
    assert is_inside(name)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_the_folder(name: str) -> None:
    assert not is_inside(name)


def test_entries_that_leave_the_folder_are_left_out_and_all_reported() -> None:
    weight_map = {"good": "a.safetensors", **{f"bad{n}": f"{name}/a.safetensors" for n, name in enumerate(OUTSIDE)}}
    index, faults = parse_index(FILE, json.dumps({"weight_map": weight_map}).encode("utf-8"))
    assert index is not None
    assert index.weight_map == {"good": "a.safetensors"}
    assert [(fault.kind, fault.tensor) for fault in faults] == [
        ("index-outside-folder", f"bad{n}") for n in range(len(OUTSIDE))
    ]


@pytest.mark.parametrize("shard", ["null", "7", '["a.safetensors"]', '{"a":1}', '"a.bin"', '"config.json"'])
def test_entries_that_name_no_shard(shard: str) -> None:
    weight_map, kinds = parse(f'{{"weight_map":{{"good":"a.safetensors","bad":{shard}}}}}')
    assert weight_map == {"good": "a.safetensors"}
    assert kinds == ["index-not-a-shard"]


@pytest.mark.parametrize("weight_map", ["null", "[]", "{}", '"a"', '[["a","b"]]'])
def test_an_index_without_a_usable_weight_map(weight_map: str) -> None:
    assert parse(f'{{"weight_map":{weight_map}}}') == (None, ["index-invalid"])
    assert parse("{}") == (None, ["index-invalid"])


def test_metadata_that_is_no_object_does_not_hide_the_weight_map() -> None:
    assert parse('{"metadata":[],"weight_map":{"a":"a.safetensors"}}') == ({"a": "a.safetensors"}, ["index-invalid"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("[]", "[]"),
        ("null", "None"),
        ('{"a":1}}', "Extra data: line 1 column 8 (char 7)"),
        ("\ufeff{}", "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        ('{"a":"\\ud800"}', "a string holds a lone surrogate"),
        ('{"a":"\\\\\\ud83d"}', "a string holds a lone surrogate"),
        ("[" * 101 + "]" * 101, "more than 100 levels of nesting"),
        ("[" * 100_000, "nesting without end"),
    ],
)
def test_what_is_no_json_object(text: str, found: str) -> None:
    document, faults = parse_json_object("config.json", text.encode("utf-8"))
    assert document is None
    assert [(fault.kind, fault.file, fault.expected, fault.found) for fault in faults] == [
        ("json-invalid", "config.json", "a JSON object", found)
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":"\\ud83d\\ude00"}',
        '{"a":"\\\\ud800"}',
        '{"a":' + "[" * 99 + "]" * 99 + "}",
        '{"a":"' + "[" * 200 + '"}',
        '{"a":[NaN,Infinity,-0,1e999]}',
    ],
)
def test_near_misses_of_bad_json(text: str) -> None:
    document, faults = parse_json_object("config.json", text.encode("utf-8"))
    assert repr(document) == repr(json.loads(text))
    assert faults == []


def test_not_utf8_is_not_json() -> None:
    _, (fault,) = parse_json_object("config.json", b'{"\xff":1}')
    assert fault.kind == "json-invalid"
    assert fault.found is not None
    assert "0xff" in fault.found


def test_each_repeated_key_is_reported_at_any_level() -> None:
    text = (
        '{"weight_map":{"a":"1.safetensors","a":"2.safetensors"},"x":{"b":[{"c":1,"c":2,"c":3}]},"d\\u0065":1,"de":2}'
    )
    index, faults = parse_index(FILE, text.encode("utf-8"))
    assert index is not None
    assert index.weight_map == {"a": "2.safetensors"}
    assert {fault.kind for fault in faults} == {"json-duplicate-key"}
    assert [fault.found for fault in faults] == ["several 'a'", "several 'c'", "several 'c'", "several 'de'"]


def test_many_repeated_keys_take_no_quadratic_time() -> None:
    pairs = ",".join(f'"k{n % 20_000}":"s.safetensors"' for n in range(40_000))
    _, faults = parse_index(FILE, f'{{"weight_map":{{{pairs}}}}}'.encode())
    assert len(faults) == 20_000


@settings(max_examples=200)
@given(strategies.json_values.map(json.dumps))
def test_json_without_repeated_keys_has_none(text: str) -> None:
    document, faults = parse_json_object("config.json", f'{{"a":{text}}}'.encode())
    assert [fault.kind for fault in faults] in ([], ["json-invalid"])
    if not faults:
        assert document == {"a": json.loads(text)}


@settings(max_examples=300)
@given(strategies.json_files)
def test_any_bytes_give_an_index_or_a_fault(raw: bytes) -> None:
    index, faults = parse_index(FILE, raw)
    assert index is not None or faults
    for fault in faults:
        str(fault).encode("utf-8")
    if index is not None:
        assert all(is_inside(shard) for shard in index.shards)


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_name_inside_can_leave_by_joining(name: str) -> None:
    if is_inside(name):
        assert ".." not in name.split("/")
        assert not name.startswith("/")
