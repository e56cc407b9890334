"""Whole folders: shards, index and config together, and nothing but errors of ours whatever they hold."""

from __future__ import annotations

import errno
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.errors import CkptkitError, ContainerError, Fault
from ckptkit.storage import source as source_module
from ckptkit.storage.container import Container, is_fatal, open_container, paused_gc
from ckptkit.storage.payload import ByteRange, TensorRef
from ckptkit.storage.source import FileEntry, LocalSource
from tests import strategies
from tests.conftest import WriteCheckpoint
from tests.raw import INDEX, MemorySource, RawTensor, checkpoint_files, index_bytes, shard_bytes, write_files

FIRST, SECOND, SINGLE = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors"

A = RawTensor("F8_E4M3", (2, 2), b"1234")
SCALE = RawTensor("F32", (), b"abcd")


def two_shards() -> dict[str, bytes]:
    """A checkpoint whose second shard holds only scales."""
    return checkpoint_files({FIRST: {"a.weight": A, "層.weight": A}, SECOND: {"a.weight_scale": SCALE}})


def reported(files: dict[str, bytes]) -> list[tuple[str, str | None, str | None]]:
    """Kind, file and tensor of every fault of these files."""
    faults = open_container(MemorySource(files)).faults
    assert all(fault.expected or fault.found for fault in faults)
    return [(fault.kind, fault.file, fault.tensor) for fault in faults]


def test_a_sound_checkpoint(write_checkpoint: WriteCheckpoint) -> None:
    folder = write_checkpoint({FIRST: {"a.weight": A}, SECOND: {"a.weight_scale": SCALE}}, {"model_type": "llama"})
    (folder / "tokenizer.json").write_bytes(b"{}")
    container = open_container(LocalSource(folder))
    assert container.faults == ()
    assert container.label == str(folder)
    assert container.config == {"model_type": "llama"}
    assert [header.shard for header in container.headers] == [FIRST, SECOND]
    assert container.side_files == (FileEntry("tokenizer.json", 2),)
    assert container.data_bytes == 8
    scale = container.tensors["a.weight_scale"]
    assert (scale.module, scale.numel, scale.stop - scale.start) == ("a", 1, 4)
    assert container.read(scale) == b"abcd"
    assert container.read_range(ByteRange(FIRST, container.tensors["a.weight"].start, 2)) == b"12"
    container.raise_if_damaged()


def test_a_shard_that_holds_only_scales_is_sound() -> None:
    assert reported(two_shards()) == []


@settings(max_examples=60)
@given(strategies.checkpoints())
def test_sound_checkpoints_have_no_faults(shards: dict[str, dict[str, RawTensor]]) -> None:
    container = open_container(MemorySource(checkpoint_files(shards)))
    assert container.faults == ()
    expected = {name: tensor.data for tensors in shards.values() for name, tensor in tensors.items()}
    assert {name: container.read(tensor) for name, tensor in container.tensors.items()} == expected


def test_a_missing_shard_is_one_fault() -> None:
    files = two_shards()
    del files[SECOND]
    assert reported(files) == [("shard-missing", SECOND, None)]


def test_a_tensor_in_another_shard_than_the_index_says() -> None:
    files = two_shards()
    files[INDEX] = files[INDEX].replace(
        f'"a.weight_scale": "{SECOND}"'.encode(), f'"a.weight_scale": "{FIRST}"'.encode()
    )
    files[INDEX] = files[INDEX].replace(f'"a.weight": "{FIRST}"'.encode(), f'"a.weight": "{SECOND}"'.encode())
    assert reported(files) == [
        ("index-tensor-missing", INDEX, "a.weight"),
        ("index-tensor-missing", INDEX, "a.weight_scale"),
    ]
    (fault, _) = open_container(MemorySource(files)).faults
    assert (fault.expected, fault.found) == (f"in {SECOND}", f"in {FIRST}")


def test_a_tensor_that_no_shard_holds() -> None:
    files = two_shards()
    files[INDEX] = index_bytes({FIRST: {"a.weight": A, "層.weight": A}, SECOND: {"a.weight_scale": SCALE, "gone": A}})
    assert reported(files) == [("index-tensor-missing", INDEX, "gone"), ("index-total-size", INDEX, None)]


def test_a_tensor_that_the_index_does_not_list() -> None:
    files = two_shards()
    files[SECOND] = shard_bytes({"a.weight_scale": SCALE, "extra": SCALE})
    assert reported(files) == [("index-unlisted-tensor", SECOND, "extra"), ("index-total-size", INDEX, None)]


def test_a_tensor_in_two_shards() -> None:
    files = two_shards()
    files[SECOND] = shard_bytes({"a.weight_scale": SCALE, "a.weight": RawTensor("F32", (1,), b"wxyz")})
    assert reported(files) == [("shard-duplicate-tensor", SECOND, "a.weight"), ("index-total-size", INDEX, None)]
    assert open_container(MemorySource(files)).tensors["a.weight"].shard == FIRST


def test_two_shards_without_an_index() -> None:
    files = two_shards()
    del files[INDEX]
    assert reported(files) == [("index-absent", INDEX, None)]
    files[SECOND] = files[FIRST]
    assert reported(files) == [
        ("index-absent", INDEX, None),
        ("shard-duplicate-tensor", SECOND, "a.weight"),
        ("shard-duplicate-tensor", SECOND, "層.weight"),
    ]


@pytest.mark.parametrize(("declared", "found"), [("13", "13"), ("null", "nothing"), ('"12"', "'12'"), ("1e999", "inf")])
def test_a_wrong_total_size(declared: str, found: str) -> None:
    files = two_shards()
    files[INDEX] = files[INDEX].replace(b'"total_size": 12', f'"total_size": {declared}'.encode())
    (fault,) = open_container(MemorySource(files)).faults
    assert (fault.kind, fault.expected, fault.found) == ("index-total-size", "12", found)


def test_a_weight_file_beside_the_index() -> None:
    files = two_shards()
    files["consolidated.safetensors"] = files[FIRST]
    assert reported(files) == [("shard-unlisted", "consolidated.safetensors", None)]
    side = [entry.name for entry in open_container(MemorySource(files)).side_files]
    assert side == ["consolidated.safetensors"]


def test_a_shard_that_cannot_be_understood_is_not_blamed_for_its_tensors_too() -> None:
    files = two_shards()
    for damaged in (
        b"",
        files[SECOND][:-1],
        b"\2\0\0\0\0\0\0\0{]",
        shard_bytes({"a.weight_scale": ("F128", (), b"abcd")}),
    ):
        files[SECOND] = damaged
        assert [file for _, file, _ in reported(files)] == [SECOND]


def test_many_bad_entries_take_no_quadratic_time() -> None:
    tensors = {f"t{n}": RawTensor("F128", (), b"") for n in range(20_000)}
    files = checkpoint_files({FIRST: tensors, SECOND: {"a": A}})
    faults = open_container(MemorySource(files)).faults
    assert len(faults) == 20_000
    assert {fault.kind for fault in faults} == {"header-dtype"}


def test_shards_in_subfolders_belong_to_the_model_only_through_an_index() -> None:
    files = checkpoint_files({SINGLE: {"a": A}})
    files["original/model.safetensors"] = files[SINGLE]
    assert reported(files) == []
    files[INDEX] = index_bytes({"original/model.safetensors": {"a": A}})
    assert reported(files) == [("shard-unlisted", SINGLE, None)]


def test_no_config() -> None:
    files = checkpoint_files({SINGLE: {"a": A}})
    del files["config.json"]
    assert reported(files) == [("config-absent", "config.json", None)]


def test_a_damaged_config_or_index_leaves_the_shards_readable() -> None:
    files = checkpoint_files({SINGLE: {"a": A}})
    files |= {"config.json": b"{", INDEX: b"[]"}
    container = open_container(MemorySource(files))
    assert [(fault.kind, fault.file) for fault in container.faults] == [
        ("json-invalid", INDEX),
        ("json-invalid", "config.json"),
    ]
    assert container.config == {}
    assert list(container.tensors) == ["a"]


@pytest.mark.parametrize("other", ["pytorch_model.bin", "model.gguf"])
def test_a_folder_without_shards_is_refused_and_says_what_it_holds(other: str) -> None:
    with pytest.raises(ContainerError, match="no safetensors files") as caught:
        open_container(MemorySource({other: b"", "config.json": b"{}"}))
    assert caught.value.help is not None
    assert other.rpartition(".")[2] in caught.value.help


class UnreadableSource(MemorySource):
    """A source that lists files and then cannot read some."""

    def read(self, name: str, start: int = 0, nbytes: int | None = None) -> bytes:
        if name in (SECOND, INDEX):
            raise ContainerError("input/output error")
        return super().read(name, start, nbytes)


def test_files_that_cannot_be_read_are_faults() -> None:
    container = open_container(UnreadableSource(two_shards()))
    assert [(fault.kind, fault.file, fault.found) for fault in container.faults] == [
        ("file-unreadable", INDEX, "input/output error"),
        ("index-absent", INDEX, "none"),
        ("file-unreadable", SECOND, "input/output error"),
    ]
    with pytest.raises(ContainerError):
        container.raise_if_damaged()


@pytest.mark.parametrize("locked", [SECOND, INDEX])
def test_a_file_that_the_system_withholds_is_no_finding(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "model", two_shards())

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if Path(path).name == locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(path, *args, **kwargs)

    monkeypatch.setattr(source_module, "open", refuse, raising=False)
    with pytest.raises(ContainerError, match=f"{locked} cannot be read: Permission denied") as caught:
        open_container(LocalSource(folder))
    assert not caught.value.faults
    assert "nothing about the checkpoint" in (caught.value.help or "")


@pytest.mark.parametrize(
    ("kind", "fatal"),
    [
        *[("header-hole", True), ("data-truncated", True), ("file-unreadable", True), ("index-outside-folder", True)],
        *[("header-entry-form", False), ("header-duplicate-key", False), ("index-total-size", False)],
        *[("shard-missing", True), ("shard-unlisted", False), ("json-duplicate-key", False), ("config-absent", False)],
    ],
)
def test_which_faults_stop_a_conversion(kind: str, fatal: bool) -> None:
    assert is_fatal(Fault(kind, "")) == fatal


def test_damage_is_raised_with_every_fatal_fault() -> None:
    files = two_shards()
    files |= {FIRST: files[FIRST][:-1], SECOND: b"", "extra.safetensors": b""}
    with pytest.raises(ContainerError) as caught:
        open_container(MemorySource(files)).raise_if_damaged()
    assert [fault.kind for fault in caught.value.faults] == ["data-truncated", "file-empty"]
    assert "(2 faults)" in str(caught.value)


def ref(shard: str, start: int, nbytes: int) -> TensorRef:
    return TensorRef(f"{shard}@{start}", "U8", (nbytes,), shard, start, nbytes)


def test_reading_many_tensors_joins_neighbours_in_file_order() -> None:
    size = 3 << 20
    source = MemorySource({shard: bytes([n]) * size for n, shard in enumerate("ab")})
    container = Container(source, (), None, {}, ())
    scales = [ref("a", 100, 4), ref("a", 0, 4), ref("b", 8, 4), ref("a", 4200, 4), ref("a", 4, 0), ref("b", 8, 4)]
    scales += [ref("a", 10_000, 4), ref("a", 20_000, 2 << 20), ref("a", 20_000 + (2 << 20), 8)]
    read = list(container.read_many(iter(scales)))
    assert [tensor for tensor, _ in read] == sorted(scales, key=lambda tensor: (tensor.shard, tensor.start))
    assert all(data == source.contents[tensor.shard][tensor.start : tensor.stop] for tensor, data in read)
    assert source.reads == [
        ("a", 0, 4204),  # gaps of up to 4096 bytes are read over
        ("a", 10_000, 4),  # this one was too far away
        ("a", 20_000, 2 << 20),  # a large one is read alone
        ("a", 20_000 + (2 << 20), 8),
        ("b", 8, 4),
    ]


def test_reading_nothing_reads_nothing() -> None:
    source = MemorySource({})
    assert list(Container(source, (), None, {}, ()).read_many([])) == []
    assert source.reads == []


def test_the_collector_is_paused_and_comes_back() -> None:
    assert gc.isenabled()
    with paused_gc():
        assert not gc.isenabled()
        with paused_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError), paused_gc():
        raise ValueError
    assert gc.isenabled()


def test_importing_the_storage_layer_stays_light() -> None:
    code = "import sys, ckptkit.storage.container; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "torch", "safetensors", "huggingface_hub", "concurrent.futures", "logging", "click", "rich"}
    assert not heavy & set(modules)


names = st.sampled_from(["config.json", INDEX, SINGLE, FIRST, SECOND, "other.safetensors", "sub/x.safetensors"])
indexes = st.dictionaries(strategies.tensor_names(), names | strategies.json_values, max_size=4).map(
    lambda weight_map: json.dumps({"weight_map": weight_map}).encode("utf-8")
)
contents = strategies.json_files | strategies.mutated_shards() | strategies.odd_shards() | indexes | st.just(b"")


@settings(max_examples=300)
@given(st.dictionaries(names, contents, max_size=4))
def test_whatever_a_folder_holds_only_our_errors_come_out(files: dict[str, bytes]) -> None:
    try:
        container = open_container(MemorySource(files))
        for tensor, data in container.read_many(t for h in container.headers if h.readable for t in h.tensors.values()):
            assert len(data) == tensor.nbytes
        for fault in container.faults:
            str(fault).encode("utf-8")
        container.raise_if_damaged()
    except CkptkitError as error:
        str(error).encode("utf-8")


def test_random_bytes_on_disk(tmp_path: Path, write_checkpoint: WriteCheckpoint) -> None:
    folder = write_checkpoint({FIRST: {"a": A}, SECOND: {"b": A}})
    for name in ("config.json", INDEX, FIRST):
        for noise in (b"", b"\x00" * 7, b"\xff" * 100, b"{", b"\x01\0\0\0\0\0\0\0"):
            (folder / name).write_bytes(noise)
            faults = open_container(LocalSource(folder)).faults
            assert any(fault.file == name for fault in faults)
