"""A checkpoint as it would be: what it takes from the original, what edits change, and the files that are written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptkit.edits import changes
from ckptkit.edits.editor import EditConflictError
from ckptkit.edits.workspace import Workspace
from ckptkit.storage.container import CONFIG_FILE, open_container
from ckptkit.storage.index import INDEX_FILE
from ckptkit.storage.output import OutputFile
from ckptkit.storage.payload import ByteRange, Inline
from tests.raw import MemorySource, RawTensor, shard_bytes

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
A, B = RawTensor("F32", (2,), b"12345678"), RawTensor("F32", (2,), b"abcdefgh")
INDEX = {"metadata": {"total_size": 16, "by": "x"}, "weight_map": {"a": ONE, "b": TWO}, "extra": 1}
CONFIG = {"n": 1, "list": ["x"]}


def workspace(without: str = "", **files: Any) -> Workspace:
    contents = {
        ONE: shard_bytes({"a": A}, {"format": "pt"}),
        TWO: shard_bytes({"b": B}),
        CONFIG_FILE: json.dumps(CONFIG).encode(),
        INDEX_FILE: json.dumps(files.get("index", INDEX)).encode(),
        "tokenizer.json": b"{}",
        **{name: data for name, data in files.items() if name.endswith(".json")},
    }
    return Workspace.of(open_container(MemorySource({k: v for k, v in contents.items() if k != without})))


def test_an_unchanged_workspace_is_the_original() -> None:
    found = workspace()
    assert {shard: [tensor.name for tensor in tensors] for shard, tensors in found.shards.items()} == {
        ONE: ["a"],
        TWO: ["b"],
    }
    assert found.metadata == {ONE: {"format": "pt"}, TWO: None}
    assert (found.documents, found.weight_map) == ({CONFIG_FILE: CONFIG}, INDEX["weight_map"])
    assert found.changed == frozenset() and found.changed_documents == ()
    assert found.text_of(CONFIG_FILE) == found.original_text_of(CONFIG_FILE) == json.dumps(CONFIG)
    assert workspace(INDEX_FILE).weight_map is None
    assert workspace(CONFIG_FILE).original_text_of(CONFIG_FILE) == ""
    assert found.virtual(changed_only=True).jobs == ()
    assert {job.file for job in found.virtual().jobs} == {ONE, TWO, CONFIG_FILE, INDEX_FILE, "tokenizer.json"}


def test_edits_make_another_workspace() -> None:
    before = workspace()
    first = before.apply([changes.AddItem(("list",), "y"), changes.SetMetadata(TWO, "format", "pt")])
    second = first.apply([changes.Rename(ONE, "a", "c")])
    assert (before.documents[CONFIG_FILE], before.metadata[TWO], before.changed) == (CONFIG, None, frozenset())
    assert (first.documents[CONFIG_FILE]["list"], first.metadata[TWO]) == (["x", "y"], {"format": "pt"})
    assert first.changed == {CONFIG_FILE, TWO} and second.changed == {CONFIG_FILE, TWO, ONE, INDEX_FILE}
    assert first.weight_map == INDEX["weight_map"] and second.weight_map == {"b": TWO, "c": ONE}
    assert second.documents == first.documents and second.metadata == first.metadata
    assert [second.origin(name) for name in ("c", "b", "z")] == ["a", "b", "z"]


def test_the_files_that_are_written() -> None:
    changed = workspace().apply([changes.Rename(ONE, "a", "c"), changes.SetKey(("n",), 2)])
    planned = changed.virtual(changed_only=True)
    (shard,) = planned.shards
    assert (shard.file, [tensor.name for tensor in shard.tensors], shard.metadata) == (ONE, ["c"], {"format": "pt"})
    config, index = planned.files
    assert config == OutputFile(CONFIG_FILE, Inline(json.dumps({**CONFIG, "n": 2}).encode()))
    assert index.file == INDEX_FILE and isinstance(index.payload, Inline)
    assert json.loads(index.payload.data) == {**INDEX, "weight_map": {"b": TWO, "c": ONE}}
    others = [job for job in changed.virtual().files if job not in planned.files]
    assert sorted(others, key=lambda job: job.file) == [
        OutputFile(TWO, ByteRange(TWO, 0, len(shard_bytes({"b": B})))),
        OutputFile("tokenizer.json", ByteRange("tokenizer.json", 0, 2)),
    ]


def test_json_files_beside_config_json_are_edited_where_they_are() -> None:
    before = workspace(**{"side.json": b'{\n    "inner": {"list": ["x"]},\n    "n": 1\n}', "text.json": b"[1]"})
    after = before.apply([changes.AddItem(("inner", "list"), "y", "side.json"), changes.SetKey(("n",), 2)])
    assert (after.changed_documents, before.documents.keys()) == ((CONFIG_FILE, "side.json"), {CONFIG_FILE})
    found = {job.file: job.payload for job in after.virtual(changed_only=True).files}
    assert list(found) == [CONFIG_FILE, "side.json"] and isinstance(found["side.json"], Inline)
    assert json.loads(found["side.json"].data) == {"inner": {"list": ["x", "y"]}, "n": 1}
    assert found["side.json"].data.startswith(b'{\n    "inner"')
    again = after.apply([changes.RemoveKey(("n",), "side.json")])
    assert again.documents["side.json"] == {"inner": {"list": ["x", "y"]}}
    for name in ("text.json", "none.json", ONE):
        with pytest.raises(EditConflictError, match=f"{name} is not there or holds no JSON object"):
            after.apply([changes.SetKey(("n",), 2, name)])


def test_what_a_stranger_would_find() -> None:
    edits = (
        changes.Rename(ONE, "a", "c"),
        changes.Compute(TWO, "b", "cast", {"dtype": "BF16"}),
        changes.SetKey(("n",), 2),
        changes.RebuildIndex(places=False),
    )
    found = workspace().apply(edits).reopened()
    assert found.faults == () and found.config == {**CONFIG, "n": 2}
    assert {name: found.read(tensor) for name, tensor in found.tensors.items()} == {"c": A.data, "b": b"cdgh"}
    assert found.index is not None and found.index.metadata == {"total_size": 12, "by": "x"}


@pytest.mark.parametrize(
    ("without", "weight_map", "known"),
    [
        ("", INDEX["weight_map"], True),
        (TWO, INDEX["weight_map"], False),
        ("", {"a": "../a.safetensors", "b": TWO, "z": ONE}, True),
        ("", {"a": ONE, "b": TWO, "z": "../b.safetensors"}, False),
        ("", {"a": ONE, "b": TWO, "z": "b.bin"}, False),
        ("", {"a": ONE, "b": TWO, "z": TWO}, True),
    ],
)
def test_an_index_is_made_anew_where_no_tensor_is_known_to_it_alone(
    without: str, weight_map: dict[str, str], known: bool
) -> None:
    found = workspace(without, index={**INDEX, "weight_map": weight_map})
    if known:
        assert found.apply([changes.RebuildIndex(places=False)]).changed == {INDEX_FILE}
    else:
        with pytest.raises(EditConflictError, match="the only record"):
            found.apply([changes.RebuildIndex(places=False)])
