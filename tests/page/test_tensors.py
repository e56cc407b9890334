"""The table of all tensors: it is small, and every name comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ckptkit.page.tensors import split, tensor_table
from ckptkit.storage.payload import TensorRef
from tests.report.test_hostile_reports import HOSTILE

PARTS = st.sampled_from(
    ["model", "layers", "0", "7", "00", "007", "12345678901234567890", "²", "٣", "", "*", "-1", *HOSTILE]
)


def written_out(table: dict[str, Any]) -> Iterator[tuple[str, str, tuple[int, ...], int, str]]:
    """Every tensor of a table, as the schema says that it is to be read."""
    for kind in table["kinds"]:
        stride = len(kind["pieces"]) - 1
        runs = zip(kind["shards"][::2], kind["shards"][1::2], strict=True)
        shards = [table["shards"][place] for place, count in runs for _ in range(count)]
        assert len(kind["numbers"]) == stride * kind["count"] and len(shards) == kind["count"]
        for member, shard in enumerate(shards):
            numbers = [*map(str, kind["numbers"][member * stride : (member + 1) * stride]), ""]
            name = "".join(piece + number for piece, number in zip(kind["pieces"], numbers, strict=True))
            yield name, kind["dtype"], tuple(kind["shape"]), kind["bytes"], shard


def tensor(name: str, shape: tuple[int, ...] = (2, 2), shard: str = "a.safetensors") -> TensorRef:
    return TensorRef(name, "BF16", shape, shard, 0, 8)


@given(st.lists(PARTS, min_size=1).map(".".join) | st.text())
def test_a_name_comes_back_as_it_was(name: str) -> None:
    pieces, numbers = split(name)
    assert len(pieces) == len(numbers) + 1
    assert "".join(piece + str(number) for piece, number in zip(pieces, [*numbers, ""], strict=True)) == name


@given(st.lists(st.tuples(PARTS, PARTS, PARTS).map(".".join), unique=True), st.integers(1, 3))
def test_every_tensor_is_there_once(names: list[str], shards: int) -> None:
    stored = [tensor(name, (place % 2, 3), f"{place % shards}") for place, name in enumerate(names)]
    table = tensor_table(stored)
    found = list(written_out(json.loads(json.dumps(table.to_json()))))
    assert sorted(found, key=repr) == sorted(((t.name, t.dtype, t.shape, t.nbytes, t.shard) for t in stored), key=repr)
    assert [name for name, *_ in found] == list(table.names)


def test_the_largest_come_first() -> None:
    table = tensor_table([tensor("a"), tensor("b")._replace(nbytes=32), tensor("c")._replace(nbytes=16)])
    assert table.names == ("b", "c", "a")


def test_layers_are_one_kind() -> None:
    stored = [tensor(f"model.layers.{layer}.mlp.experts.{expert}.w1") for layer in range(4) for expert in range(8)]
    (kind,) = tensor_table(stored).kinds
    assert (kind.pieces, kind.tensors, kind.shards) == (("model.layers.", ".mlp.experts.", ".w1"), 32, ((0, 32),))
