"""What is wrong with the files of a checkpoint, word for word: what happened, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ckptkit.errors import ContainerError, Fault
from ckptkit.storage.agreement import choose_shards, compare_names
from ckptkit.storage.container import open_container
from ckptkit.storage.file_names import name_fault
from ckptkit.storage.header import Header
from ckptkit.storage.index import INDEX_FILE, Index, parse_index
from ckptkit.storage.json_text import compact_json, json_text
from ckptkit.storage.payload import TensorRef
from ckptkit.storage.source import FileEntry
from tests.raw import MemorySource, raw_file, shard_bytes
from tests.storage.official import ours
from tests.storage.test_header import ONE_FAULT, entry, header

AGAIN, FETCH_AGAIN = "export or download the shard again", "download or export the shard again"
LOG_IN = "download it again: a server answered with a page, perhaps because a login is needed"
NOT_JSON, TWICE = "the header is not valid JSON", "tied tensors must be stored once, or twice in full"

#: Case of ``ONE_FAULT`` -> message and help.
SAID: Mapping[str, tuple[str, str | None]] = {
    "no bytes": ("the file is empty", FETCH_AGAIN),
    "a pointer": ("this is a Git LFS pointer, not the shard itself", "run 'git lfs pull' or download it again"),
    "a page": ("this is an HTML page, not the shard itself", LOG_IN),
    "a server's complaint": ("this is a server's error message, not the shard itself", LOG_IN),
    "five bytes": ("too short for a header length", FETCH_AGAIN),
    "header cut": ("the header is longer than the file", FETCH_AGAIN),
    "header over the limit": (
        "header length is over the format's limit; the file is damaged or not safetensors",
        FETCH_AGAIN,
    ),
    "not UTF-8": ("the header is not UTF-8", AGAIN),
    "not JSON": (NOT_JSON, AGAIN),
    "no object": ("the header is not a JSON object", AGAIN),
    "NaN": (NOT_JSON, AGAIN),
    "blanks first": ("the header starts with blanks, which the format forbids", AGAIN),
    "metadata no object": ("__metadata__ is not an object", None),
    "metadata of numbers": ("__metadata__ must map strings to strings", None),
    "metadata twice": ("__metadata__ is given twice", AGAIN),
    "metadata key twice": ("__metadata__ holds a key twice; readers keep the last one", None),
    "entry no object": ("the entry is not an object", None),
    "field missing": ("the entry lacks shape", None),
    "field twice": ("shape is given twice", None),
    "field unknown": ("unknown header field", None),
    "entry as array": ("not every reader takes this entry", None),
    "dtype as object": ("not every reader takes this dtype", None),
    "tensor twice": (
        "the header names the tensor twice; readers keep the last entry",
        "export the shard again: one of the two entries is never read",
    ),
    "dtype unknown": ("unknown dtype", None),
    "shape negative": ("the shape is not a list of sizes", None),
    "shape no list": ("the shape is not a list of sizes", None),
    "offsets of three": ("data_offsets are not a pair of offsets", None),
    "offsets backwards": ("data_offsets run backwards", None),
    "overflow": ("shape x dtype does not fit in 64 bits", None),
    "size wrong": ("data_offsets do not hold shape x dtype", None),
    "half a byte": ("the tensor does not end on a whole byte", None),
    "hole before": ("2 bytes of no tensor between the header and this one", AGAIN),
    "hole between": ("1 byte of no tensor between a and this one", AGAIN),
    "overlap": ("the tensor shares bytes with a", TWICE),
    "empty tensor inside another": ("the tensor shares bytes with a", TWICE),
    "data cut": (
        "the file ends before this tensor does, the first of 1 that are cut",
        "the download broke off; fetch the shard again",
    ),
    "data trailing": (
        "the last tensor is followed by 2 bytes",
        "the shard was overwritten or joined; export or download it again",
    ),
}


@pytest.mark.parametrize("name", ONE_FAULT)
def test_a_header_says_what_is_wrong_and_what_to_do(name: str) -> None:
    (fault,) = ours(ONE_FAULT[name][0]).faults
    assert (fault.message, fault.help) == SAID[name]


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (b"\xef\xbb\xbf <HTML lang=en>", "an HTML page"),
        (b"<head><title>Log in", "an HTML page"),
        (b"<?xml version='1.0'?>", "an XML document"),
        (b'{"error": "not found"}', "a server's error message"),
        (b'{"Error":1}', "a server's error message"),
    ],
)
def test_pages_are_told_from_shards(first: bytes, found: str) -> None:
    (fault,) = ours(first).faults
    assert fault.message == f"this is {found}, not the shard itself"


def test_a_page_in_another_encoding_is_quoted_all_the_same() -> None:
    (fault,) = ours("<html>é".encode("latin-1")).faults
    assert fault.found == "7 bytes that begin with '<html>\ufffd'"


def test_unknown_fields_may_not_be_nested_without_end() -> None:
    depth = 126  # and two levels around it
    sound, wrong = (header(entry(extra=f',"x":{"[" * n}{"]" * n}')) for n in (depth - 1, depth))
    assert [fault.kind for fault in ours(raw_file(sound, b"1234")).faults] == ["header-unknown-field"]
    fault = ours(raw_file(wrong, b"1234")).faults[-1]
    assert str(fault).endswith("arrays and objects are nested too deeply (expected at most 127 levels, found 128)")


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        (
            {"metadata": [], "weight_map": {"a": "m.safetensors"}},
            [Fault("index-invalid", "metadata is not an object", INDEX_FILE, None, "an object", "[]")],
        ),
        (
            {"weight_map": {}},
            [
                Fault(
                    "index-invalid",
                    "weight_map is missing, empty or not an object",
                    INDEX_FILE,
                    None,
                    "tensor names and shards",
                    "{}",
                )
            ],
        ),
        (
            {"weight_map": {"a": "../m.safetensors", "b": "m.safetensors"}},
            [
                Fault(
                    "index-outside-folder",
                    "the index names a file outside the checkpoint folder",
                    INDEX_FILE,
                    "a",
                    "a file name relative to the folder",
                    "'../m.safetensors'",
                    "do not load this checkpoint before you know who wrote it",
                )
            ],
        ),
        *(
            (
                {"weight_map": {"a": shard, "b": "m.safetensors"}},
                [
                    Fault(
                        "index-not-a-shard",
                        "the index places the tensor in something other than a safetensors file",
                        INDEX_FILE,
                        "a",
                        "a file name that ends in .safetensors",
                        repr(shard),
                        "rewrite the index",
                    )
                ],
            )
            for shard in ("m.bin", 7)
        ),
        (
            [],
            [Fault("json-invalid", "not a JSON object in UTF-8", INDEX_FILE, None, "a JSON object", "[]")],
        ),
    ],
)
def test_an_index_says_what_is_wrong(document: Any, faults: list[Fault]) -> None:
    assert parse_index(INDEX_FILE, json.dumps(document).encode())[1] == faults


def test_a_key_given_twice_is_named() -> None:
    _, (fault,) = parse_index(INDEX_FILE, b'{"weight_map":{"a":"m.safetensors","a":"m.safetensors"}}')
    message = "a key is given twice; readers keep the last one"
    assert fault == Fault("json-duplicate-key", message, INDEX_FILE, None, "one", "several 'a'")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a/b.json", None),
        ("x" * 255 + "/" + "y" * 255, None),
        ("x" * 256, Fault("outside-folder", "a file name that leaves the checkpoint folder", repr("x" * 256))),
        ("é" * 128, Fault("outside-folder", "a file name that leaves the checkpoint folder", repr("é" * 128))),
        ("../a", Fault("outside-folder", "a file name that leaves the checkpoint folder", "'../a'")),
        ("a\udcff", Fault("file-name", "a file name that is not UTF-8", r"a\udcff", help="rename the file")),
    ],
)
def test_names_of_remote_files(name: str, fault: Fault | None) -> None:
    assert name_fault(name) == fault


def shard(name: str, *tensors: str, unusable: tuple[str, ...] = ()) -> Header:
    """A sound header of tensors of one byte each."""
    held = {tensor: TensorRef(tensor, "U8", (1,), name, 8 + at, 1) for at, tensor in enumerate(tensors)}
    return Header(name, 8, 8 + len(tensors), held, None, unusable=unusable)


def index(total: object = None, **weight_map: str) -> Index:
    return Index(INDEX_FILE, weight_map, {} if total is None else {"total_size": total}, {})


DUPLICATE = Fault(
    "shard-duplicate-tensor",
    "the tensor is stored in one too; loaders keep the last one they meet",
    "two",
    "a",
    "one shard",
    "one and two",
    "export the checkpoint again",
)
ASTRAY = Fault(
    "index-tensor-missing",
    "the index places a tensor in a shard that does not hold it",
    INDEX_FILE,
    "b",
    "in one",
    "in two",
    "rewrite the index, or fetch the shard again",
)
UNLISTED = Fault(
    "index-unlisted-tensor",
    "a stored tensor that the index does not list",
    "two",
    "b",
    f"in {INDEX_FILE}",
    "only in the shard",
    "rewrite the index",
)
TOTAL = Fault(
    "index-total-size",
    "metadata.total_size is not the size of the tensors",
    INDEX_FILE,
    None,
    "2",
    "'3'",
    "rewrite the index",
)


@pytest.mark.parametrize(
    ("headers", "index", "faults"),
    [
        ([shard("one", "a")], None, []),
        ([shard("one", "a"), shard("two", "b")], None, []),
        ([shard("one", "a"), shard("two", "a")], None, [DUPLICATE]),
        ([shard("one", unusable=("a",)), shard("two", "a")], None, [DUPLICATE]),
        ([shard("one", "a"), shard("two", "b")], index(2, a="one", b="two"), []),
        ([shard("one", "a"), shard("two", "a", "b")], index(3, a="one", b="two"), [DUPLICATE]),
        ([shard("one", "a"), shard("two", "b")], index(2, a="one", b="one"), [ASTRAY]),
        ([shard("one", "a")], index(1, a="one", b="one"), [replace(ASTRAY, found="in no shard")]),
        ([shard("one", "a")], index(1, a="one", b="two"), []),
        ([shard("one", "a", unusable=("b",))], index(1, a="one", b="one"), []),
        ([shard("one", "a"), shard("two", "b", "c")], index(3, a="one", c="two"), [UNLISTED]),
        ([shard("one", "a"), shard("two", "b")], index("3", a="one", b="two"), [TOTAL]),
        ([shard("one", "a"), shard("two", "b")], index(a="one", b="two"), [replace(TOTAL, found="nothing")]),
    ],
)
def test_shards_and_index_tell_one_story(headers: list[Header], index: Index | None, faults: list[Fault]) -> None:
    assert compare_names(headers, index) == faults


def absent(count: int) -> Fault:
    return Fault(
        "index-absent",
        f"{count} shards but no {INDEX_FILE}",
        INDEX_FILE,
        None,
        "an index",
        "none",
        "several shards are loaded by their index; rebuild it",
    )


def beside(name: str) -> Fault:
    return Fault("shard-unlisted", "a weight file of another set lies beside the model's", name, None, "no such file")


A, B, MISTRAL = "a.safetensors", "b.safetensors", "consolidated.safetensors"


@pytest.mark.parametrize(
    ("present", "others", "index", "chosen", "faults"),
    [
        ([A], [], None, [A], []),
        ([A, B], [], None, [A, B], [absent(2)]),
        ([A, MISTRAL], [], None, [A], [beside(MISTRAL)]),
        ([MISTRAL], [], None, [MISTRAL], []),
        (["x-1.safetensors", "x-2.safetensors"], ["x.safetensors.index.json"], None, None, []),
        (["x-1.safetensors", "y.safetensors"], ["x.safetensors.index.json"], None, None, [absent(2)]),
        (
            [A, B],
            [],
            index(t=A, u="c.safetensors"),
            [A],
            [
                Fault(
                    "shard-missing",
                    "the index names a shard that is not in the folder",
                    "c.safetensors",
                    None,
                    "a file",
                    "nothing",
                    "the download broke off; fetch the shard again",
                ),
                Fault(
                    "shard-unlisted",
                    "a weight file that the index does not name",
                    B,
                    None,
                    f"in {INDEX_FILE}",
                    "not in it",
                ),
            ],
        ),
    ],
)
def test_which_files_make_up_the_model(
    present: list[str], others: list[str], index: Index | None, chosen: list[str] | None, faults: list[Fault]
) -> None:
    entries = {name: FileEntry(name, 1) for name in (*present, *others)}
    assert choose_shards(entries, present, index) == (present if chosen is None else chosen, faults)


@pytest.mark.parametrize(
    ("files", "help"),
    [
        ({"config.json": b"{}"}, "give a folder with *.safetensors files"),
        ({"a.gguf": b"", "b.bin": b""}, "ckptkit reads safetensors only; this folder holds .bin, .gguf files"),
        ({"a.gguf": b"", "sub/m.safetensors": b""}, "a checkpoint lies in it: give memory/sub"),
    ],
)
def test_what_to_give_where_there_are_no_weights(files: dict[str, bytes], help: str) -> None:
    source = MemorySource(files)
    with pytest.raises(ContainerError) as error:
        open_container(source)
    assert error.value.message == f"{source.label}: no safetensors files here"
    assert error.value.help == help.replace("memory", source.label)


def test_a_config_that_is_not_there() -> None:
    container = open_container(MemorySource({"m.safetensors": raw_file("{}")}))
    assert container.faults == (
        Fault("config-absent", "the folder has no config.json", "config.json", None, "a file", "none"),
    )


def test_a_shard_that_cannot_be_read_is_a_fault_and_no_header() -> None:
    class Broken(MemorySource):
        def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
            if name == B:
                raise ContainerError("the disk has lost it")
            return super().read(name, start, nbytes)[: 4 if name == A else None]

    container = open_container(Broken({A: raw_file("{}"), B: raw_file("{}"), "config.json": b"{}"}))
    assert container.headers == () and container.faults[1:] == (
        Fault("file-unreadable", "the file cannot be read", A, None, "10 bytes", f"{A} broke off after 4 of 10 bytes"),
        Fault("file-unreadable", "the file cannot be read", B, None, "10 bytes", "the disk has lost it"),
    )


def test_an_index_of_other_shards_leaves_nothing_to_read() -> None:
    files = {A: raw_file("{}"), INDEX_FILE: json.dumps({"weight_map": {"t": B}}).encode(), "config.json": b"{}"}
    container = open_container(MemorySource(files))
    assert (container.headers, [entry.name for entry in container.side_files]) == ((), [A])
    assert [(fault.kind, fault.file) for fault in container.faults] == [("shard-missing", B), ("shard-unlisted", A)]


def test_a_container_in_a_table() -> None:
    look = open_container(MemorySource({A: shard_bytes({"t": ("U8", (3,), b"123")})}))._look()
    assert (look.facts, look.columns, list(look.rows)) == (
        ["1 shard", "1 tensor", "1 fault"],
        ("shard", "tensors", "bytes"),
        [(A, 1, 3)],
    )


@pytest.mark.parametrize(
    ("value", "text", "compact"),
    [
        ("a", '"a"', '"a"'),
        ("é", '"é"', r'"\u00e9"'),
        ("a\x7f", r'"a\u007f"', r'"a\u007f"'),
        ("é\x85\u2028", r'"é\u0085\u2028"', r'"\u00e9\u0085\u2028"'),
        ("\U000e0001", r'"\udb40\udc01"', r'"\udb40\udc01"'),
        ("\udcff", r'"\\udcff"', r'"\udcff"'),
        ([float("nan"), 1.5], "[\n  null,\n  1.5\n]", "[null,1.5]"),
        ({"a": (float("-inf"), {"b": 1})}, '{\n  "a": [\n    null,\n    {\n      "b": 1\n    }\n  ]\n}', None),
    ],
)
def test_json_for_other_programs(value: Any, text: str, compact: str | None) -> None:
    assert json_text(value) == text
    assert compact_json(value) == (compact or '{"a":[null,{"b":1}]}')
