"""New shards: which tensor goes where, and that every byte arrives."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptkit
from ckptkit.conversion.placement import shard_bytes, split
from ckptkit.conversion.plan import CostKind, Plan
from ckptkit.errors import ConversionRefused, UsageError
from ckptkit.operations.outputs import keep
from ckptkit.storage.output import OutputTensor
from ckptkit.storage.payload import TensorRef
from tests.damage import REAL, load, tensors_of
from tests.raw import INDEX

convert = partial(ckptkit.convert, fsync=False)
SHARDED = REAL / "llama/quark-ptpc-sharded"


def tensor(name: str, nbytes: int) -> OutputTensor:
    return keep(TensorRef(name, "U8", (nbytes,), "model.safetensors", 0, nbytes))


def names_of(groups: list[list[OutputTensor]]) -> list[list[str]]:
    return [[tensor.name for tensor in group] for group in groups]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 50))
def test_shards_are_filled_as_huggingface_hub_fills_them(sizes: list[int], limit: int) -> None:
    hub = pytest.importorskip("huggingface_hub.serialization._base")
    tensors = [tensor(f"layers.{number}.weight", size) for number, size in enumerate(sizes)]
    official = hub.split_state_dict_into_shards_factory(
        {item.name: item for item in tensors},
        get_storage_size=lambda item: item.nbytes,
        get_storage_id=lambda item: None,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=limit,
    )
    assert names_of(split(tensors, limit)) == list(official.filename_to_tensors.values())


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), min_size=1, max_size=12), st.integers(1, 50))
def test_a_weight_and_its_scale_stay_together_where_they_fit(sizes: list[tuple[int, int]], limit: int) -> None:
    tensors = [tensor(f"layers.{number}.up.weight_scale", scale) for number, (_, scale) in enumerate(sizes)]
    tensors += [tensor(f"layers.{number}.up.weight", weight) for number, (weight, _) in enumerate(sizes)]
    groups = split(tensors, limit)
    assert sorted(item for group in groups for item in group) == sorted(tensors)
    place = {item.name: number for number, group in enumerate(groups) for item in group}
    for group in groups:
        assert sum(item.nbytes for item in group) <= limit or len(group) == 1
    for number, pair in enumerate(sizes):
        if sum(pair) <= limit:
            assert place[f"layers.{number}.up.weight"] == place[f"layers.{number}.up.weight_scale"]


@pytest.mark.parametrize(
    ("weight", "scale"),
    [
        ("a.weight", "a.weight_scale_inv"),
        ("a.weight_packed", "a.weight_global_scale"),
        ("a.weight", "a.input_scale"),
        ("a.weight", "a.scale"),
        ("a.weight", "a.bias"),
        ("a.experts.gate_up_proj", "a.experts.gate_up_proj_scale_inv"),
        ("a.experts.gate_up_proj_blocks", "a.experts.gate_up_proj_scales"),
        ("a.experts.gate_up_proj_blocks", "a.experts.gate_up_proj_bias"),
    ],
)
def test_parts_of_a_module_in_every_spelling(weight: str, scale: str) -> None:
    tensors = [tensor(weight, 5), tensor("other.weight", 5), tensor(scale, 5)]
    assert names_of(split(tensors, 10)) == [[weight, scale], ["other.weight"]]


def test_sizes_in_words() -> None:
    assert [shard_bytes(text) for text in ("5GB", "10kb", "1MiB", " 2 GiB ", "0.5TB", "7B")] == [
        *(5 * 10**9, 10_000, 1 << 20, 2 << 30, 5 * 10**11, 7),
    ]
    for wrong in ("5", "GB", "-1GB", "0GB", 0, -3, "5 GB/s", True):
        with pytest.raises(UsageError, match="no size of shards"):
            shard_bytes(wrong)


@pytest.mark.parametrize("to", ["quark", "ct", "bf16"])
def test_a_conversion_into_new_shards_has_the_same_tensors(to: str, tmp_path: Path) -> None:
    limit = 40_000
    whole = tensors_of(convert(SHARDED, tmp_path / "whole", to=to).destination)
    plan = convert(SHARDED, tmp_path / "out", to=to, max_shard_size=limit).plan
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    assert tensors_of(tmp_path / "out") == whole
    files = [shard.file for shard in plan.output.shards]
    assert len(files) > 2
    assert files == [f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)]
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["weight_map"].keys() == whole.keys()
    assert index["metadata"]["total_size"] == sum(len(item.data) for item in whole.values())
    for shard in plan.output.shards:
        assert shard.data_bytes <= limit or len(shard.tensors) == 1
        assert index["weight_map"] | dict.fromkeys((t.name for t in shard.tensors), shard.file) == index["weight_map"]
    assert not [f for f in ckptkit.validate(tmp_path / "out").findings if f.code == "CK112"]


def test_one_shard_in_the_end_has_no_index(tmp_path: Path) -> None:
    plan = convert(SHARDED, tmp_path / "out", to="quark", max_shard_size="1GB").plan
    assert plan.cost.kind is CostKind.REPACK and plan.cost.computed == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if "model" in path.name) == ["model.safetensors"]
    assert tensors_of(tmp_path / "out") == tensors_of(SHARDED)
    assert ckptkit.diff(SHARDED, tmp_path / "out").same


def test_a_file_in_the_way_of_a_new_shard_is_refused(tmp_path: Path) -> None:
    source = load("llama/quark-ptpc-sharded").write(tmp_path / "source")
    taken = next(path for path in source.iterdir() if path.name.startswith("model-00001"))
    (source / "model.safetensors").write_bytes(taken.read_bytes())
    with pytest.raises(ConversionRefused, match="two files would have one name"):
        ckptkit.plan(source, to="quark", max_shard_size="1GB")
