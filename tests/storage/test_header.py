"""One header, one fault: hand-made bytes for every kind, and what it takes to stay readable."""

from __future__ import annotations

import struct

import pytest
import safetensors

from ckptkit.dtypes import DTYPES
from ckptkit.errors import Fault, OutputError
from ckptkit.storage import header as header_module
from ckptkit.storage.header import MAX_HEADER_BYTES, Entry, build_header, parse_header
from ckptkit.storage.header_faults import TOLERATED
from ckptkit.storage.payload import TensorRef
from tests.raw import raw_file, shard_bytes
from tests.storage.official import SHARD, contents, official, ours

FIELDS = "dtype, shape, data_offsets"


def entry(dtype: str = "F32", shape: str = "[1]", offsets: str = "[0,4]", extra: str = "") -> str:
    """The text of a header entry."""
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{extra}}}'


def header(*entries: str) -> str:
    """A header whose tensors are called a, b, c..."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in zip("abcdef", entries, strict=False)) + "}"


def expect(kind: str, tensor: str | None, expected: str, found: str) -> tuple[str, str | None, str, str]:
    return kind, tensor, expected, found


SIZES = "a list of integers from 0 to 2^64 - 1"
OFFSETS = "[start, stop], integers from 0 to 2^64 - 1"
OBJECT = "a JSON object in UTF-8"

# bytes of a file -> the one fault that it has: kind, tensor, expected, found
ONE_FAULT: dict[str, tuple[bytes, tuple[str, str | None, str, str]]] = {
    "no bytes": (b"", expect("file-empty", None, "a safetensors file", "0 bytes")),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        expect("lfs-pointer", None, "a safetensors file", "43 bytes of text"),
    ),
    "a page": (
        b"\n<!doctype HTML>\n<p>Log in",
        expect("page-for-shard", None, "a safetensors file", "26 bytes that begin with '\\n<!doctype HTML>\\n<p>'"),
    ),
    "a server's complaint": (
        b'{"error":"no such repository"}',
        expect("page-for-shard", None, "a safetensors file", '30 bytes that begin with \'{"error":"no such re\''),
    ),
    "five bytes": (b"\x02\0\0\0\0", expect("header-truncated", None, "8 bytes", "5 bytes")),
    "header cut": (raw_file("{}", length=3), expect("header-truncated", None, "at least 11 bytes", "10 bytes")),
    "header over the limit": (
        raw_file("{}", length=MAX_HEADER_BYTES + 1),
        expect("header-too-large", None, "at most 100000000 bytes", "100000001"),
    ),
    "not UTF-8": (raw_file(b'{"\xff":1}'), expect("header-invalid-json", None, OBJECT, "byte 0xff at 2")),
    "not JSON": (
        raw_file('{"a"}'),
        expect("header-invalid-json", None, OBJECT, "Expecting ':' delimiter: line 1 column 5 (char 4)"),
    ),
    "no object": (raw_file("[1]"), expect("header-invalid-json", None, OBJECT, "[1]")),
    "NaN": (raw_file('{"a":NaN}'), expect("header-invalid-json", None, OBJECT, "NaN is not JSON")),
    "blanks first": (raw_file("\n {}"), expect("header-leading-blanks", None, "'{'", "b'\\n {}'")),
    "metadata no object": (raw_file('{"__metadata__":[]}'), expect("header-metadata", None, "an object", "[]")),
    "metadata of numbers": (
        raw_file('{"__metadata__":{"a":"1","b":2}}'),
        expect("header-metadata", None, "a string", "'b': 2"),
    ),
    "metadata twice": (
        raw_file('{"__metadata__":{},"__metadata__":{}}'),
        expect("header-duplicate-field", None, "one", "several"),
    ),
    "metadata key twice": (
        raw_file('{"__metadata__":{"a":"1","a":"2"}}'),
        expect("header-duplicate-key", None, "one", "also 'a': '1'"),
    ),
    "entry no object": (raw_file('{"a":7}'), expect("header-entry", "a", f"an object with {FIELDS}", "7")),
    "field missing": (
        raw_file('{"a":{"dtype":"F32","data_offsets":[0,4]}}', b"1234"),
        expect("header-entry", "a", FIELDS, "['dtype', 'data_offsets']"),
    ),
    "field twice": (
        raw_file(header(entry(extra=',"shape":[1]')), b"1234"),
        expect("header-duplicate-field", "a", "one", "several"),
    ),
    "field unknown": (
        raw_file(header(entry(extra=',"strides":[1]')), b"1234"),
        expect("header-unknown-field", "a", FIELDS, "'strides'"),
    ),
    "entry as array": (
        raw_file('{"a":["F32",[1],[0,4]]}', b"1234"),
        expect("header-entry-form", "a", "an object", "an array"),
    ),
    "dtype as object": (
        raw_file('{"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}}', b"1234"),
        expect("header-entry-form", "a", "a string", "{'F32': None}"),
    ),
    "tensor twice": (
        raw_file(f'{{"a":{entry("I32")},"a":{entry()}}}', b"1234"),
        expect(
            "header-duplicate-key",
            "a",
            "one entry",
            "also {'data_offsets': [0, 4], 'dtype': 'I32', 'shape': [1]}",
        ),
    ),
    "dtype unknown": (
        raw_file(header(entry("F128")), b"1234"),
        expect("header-dtype", "a", "a safetensors dtype", "'F128'"),
    ),
    "shape negative": (raw_file(header(entry(shape="[-1]")), b"1234"), expect("header-shape", "a", SIZES, "[-1]")),
    "shape no list": (raw_file(header(entry(shape="1")), b"1234"), expect("header-shape", "a", SIZES, "1")),
    "offsets of three": (
        raw_file(header(entry(offsets="[0,4,4]")), b"1234"),
        expect("header-offsets", "a", OFFSETS, "[0, 4, 4]"),
    ),
    "offsets backwards": (
        raw_file(header(entry(offsets="[4,0]")), b"1234"),
        expect("header-offsets", "a", "start <= stop", "[4, 0]"),
    ),
    "overflow": (
        raw_file(header(entry("F64", "[4294967296,4294967296]", "[0,8]")), b"12345678"),
        expect("header-overflow", "a", "at most 18446744073709551615 bits", "F64 [4294967296, 4294967296]"),
    ),
    "size wrong": (
        raw_file(header(entry(shape="[2]")), b"1234"),
        expect("header-size", "a", "8 bytes for F32 [2]", "4 bytes"),
    ),
    "half a byte": (
        raw_file(header(entry("F4", "[3]", "[0,2]")), b"12"),
        expect("header-size", "a", "a multiple of 8 bits", "12 bits for F4 [3]"),
    ),
    "hole before": (
        raw_file(header(entry(offsets="[2,6]")), b"123456"),
        expect("header-hole", "a", "start 0", "2"),
    ),
    "hole between": (
        raw_file(header(entry(), entry(offsets="[5,9]")), b"123456789"),
        expect("header-hole", "b", "start 4", "5"),
    ),
    "overlap": (
        raw_file(header(entry(), entry(offsets="[2,6]")), b"123456"),
        expect("header-overlap", "b", "start 4", "2"),
    ),
    "empty tensor inside another": (
        raw_file(header(entry(), entry(shape="[0]", offsets="[2,2]")), b"1234"),
        expect("header-overlap", "b", "start 4", "2"),
    ),
    "data cut": (
        raw_file(header(entry(), entry(offsets="[4,8]")), b"12345"),
        expect("data-truncated", "b", "123 bytes", "120 bytes"),
    ),
    "data trailing": (raw_file(header(entry()), b"123456"), expect("data-trailing", None, "66 bytes", "68 bytes")),
}


@pytest.mark.parametrize("name", ONE_FAULT)
def test_one_fault_is_reported_alone_and_in_full(name: str) -> None:
    data, (kind, tensor, expected, found) = ONE_FAULT[name]
    parsed = ours(data)
    assert [(f.kind, f.file, f.tensor, f.expected, f.found) for f in parsed.faults] == [
        (kind, SHARD, tensor, expected, found)
    ]
    assert parsed.readable == (kind in TOLERATED) == (official(data) is not None)


def test_one_byte_is_not_several() -> None:
    (trailing,) = ours(raw_file(header(entry()), b"12345")).faults
    assert trailing.message == "the last tensor is followed by 1 byte"
    (hole,) = ours(raw_file(header(entry(), entry(offsets="[5,9]")), b"123456789")).faults
    assert hole.message == "1 byte of no tensor between a and this one"


def test_every_fault_of_a_header_is_reported_not_the_first_only() -> None:
    bad = header(
        entry("F128", "[-1]", "[0]"),
        entry(),
        entry(shape="[9]", offsets="[4,8]"),
        entry(offsets="[6,10]"),
        entry("U8", "[1]", "[10,11]", ',"extra":0'),
        "null",
    )
    faults = ours(raw_file(bad, b"0123456789")).faults
    assert [(fault.tensor, fault.kind) for fault in faults] == [
        ("a", "header-dtype"),
        ("a", "header-shape"),
        ("a", "header-offsets"),
        ("c", "header-size"),
        ("e", "header-unknown-field"),
        ("f", "header-entry"),
        ("d", "header-overlap"),
        ("e", "data-truncated"),
    ]


def test_what_can_be_understood_is_kept_beside_the_faults() -> None:
    parsed = ours(raw_file(header(entry(), entry("F128", "[1]", "[4,8]"), entry(offsets="[8,12]")), b"123456789012"))
    assert [tensor.start - parsed.data_start for tensor in parsed.tensors.values()] == [0, 8]
    assert parsed.unusable == ("b",)
    assert parsed.names_known
    assert [fault.kind for fault in parsed.faults] == ["header-dtype"]


def test_names_are_unknown_when_the_header_is_not_json() -> None:
    assert not ours(raw_file("{")).names_known
    assert ours(raw_file("{}")).names_known
    assert ours(raw_file('{"a":null}')).names_known


@pytest.mark.parametrize("code", DTYPES)
def test_every_dtype_of_the_table_is_read_at_its_width(code: str) -> None:
    data = shard_bytes({"a": (code, (8,), bytes(DTYPES[code].bits)), "empty": (code, (0, 3), b"")})
    assert official(data) == contents(ours(data), data)
    assert ours(data).faults == ()


def test_the_table_has_every_dtype_that_the_library_knows() -> None:
    with pytest.raises(safetensors.SafetensorError) as refusal:
        safetensors.deserialize(raw_file(header(entry("?"))))
    known = str(refusal.value).partition("expected one of ")[2].partition(" at line")[0]
    assert {code.strip("` ") for code in known.split(",")} == set(DTYPES)


@pytest.mark.parametrize(
    "data",
    [
        raw_file("{}"),
        raw_file("{}  \n"),
        raw_file('{"__metadata__":null}'),
        raw_file('{"__metadata__":{"format":"pt","when":"2024-05-01","json":"{\\"a\\": [1, -0]}"}}'),
        shard_bytes({"scalar": ("F32", (), b"1234"), "層.é": ("U8", (1, 0), b""), "": ("U8", (1,), b"1")}),
        raw_file(header(entry(offsets="[4,8]"), entry(offsets="[0,4]")), b"12345678"),
        raw_file('{"a":{"data_offsets":[0,1],"shape":[2],"dtyp\\u0065":"F4"}}', b"1"),
        raw_file('{\n "a": {"shape": [2], "dtype": "F4", "data_offsets": [0, 1]}\n}', b"1"),
        raw_file(header(entry())[:-1] + ',"__metadata__":{"a":"1"}}', b"1234"),
    ],
)
def test_unusual_but_sound(data: bytes) -> None:
    assert ours(data).faults == ()
    assert official(data) == contents(ours(data), data)


@pytest.mark.parametrize(
    "data",
    [
        shard_bytes({"a-0": ("F32", (1,), b"1234"), "ä": ("F4", (2,), b"1")}, {"when": "2024-05-01"}),
        raw_file('{"__metadata__":{"json":"{\\"a\\": 1}"},' + header(entry())[1:], b"1234"),
        raw_file('{"__metadata__": {"a": "1"}, "b": {"dtype": "F4", "shape": [1, 2], "data_offsets": [0, 1]}}', b"1"),
        raw_file(header(entry(offsets="[4,8]"), entry(offsets="[0,4]")), b"12345678"),
    ],
    ids=["dashes", "escapes", "blanks", "unsorted"],
)
def test_what_exporters_write_takes_the_quick_gear(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "examine_header", pytest.fail)
    assert ours(data).faults == ()


def test_one_difference_to_the_library_is_known() -> None:
    """serde_json rounds decimals its own way, so near the largest double it refuses what is one."""
    data = raw_file(header(entry(extra=',"x":1.7976931348623158e308')), b"1234")
    assert official(data) is None
    assert ours(data).readable


def test_a_long_header_needs_a_second_read_and_gets_it() -> None:
    data = shard_bytes({f"model.layers.{n}.weight": ("U8", (1,), b"1") for n in range(3000)})
    assert len(data) > 1 << 17
    assert ours(data).faults == ()
    assert len(ours(data).tensors) == 3000


def tensor(name: str) -> Entry:
    return name, "U8", (4,), 4


def test_a_built_header_is_what_the_library_writes() -> None:
    text = '{"__metadata__":{"a":"é\\"\\n"},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    built = build_header((tensor("b"),), {"a": 'é"\n'})
    assert built == struct.pack("<Q", 88) + text.encode("utf-8").ljust(88)
    assert official(built + b"1234") is not None


def test_a_built_header_can_keep_the_place_of_its_data() -> None:
    built = build_header((tensor("a"),), None, congruent_to=3 * 4096 + 123)
    assert len(built) % 4096 == 123
    assert parse_header(SHARD, built[8:], len(built) + 4).tensors == {
        "a": TensorRef("a", "U8", (4,), SHARD, len(built), 4)
    }


@pytest.mark.parametrize("names", [("a", "a"), ("__metadata__",)])
def test_a_header_that_would_lie_is_not_built(names: tuple[str, ...]) -> None:
    with pytest.raises(OutputError, match="two tensors of one name"):
        build_header(tuple(tensor(name) for name in names), None)


def test_a_header_over_the_limit_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MAX_HEADER_BYTES", 100)
    with pytest.raises(OutputError, match="over the format's 100"):
        build_header((tensor("a" * 100),), None)


def test_a_fault_reads_as_one_line_and_escapes_names() -> None:
    fault = Fault("kind", "is wrong", "a.safetensors", "x\x1b[2J", "good", "bad", "fix it")
    assert str(fault) == "a.safetensors: x\\x1b[2J: is wrong (expected good, found bad); fix it"
