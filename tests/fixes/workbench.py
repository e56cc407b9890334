"""Real fixtures, damaged one fact at a time: a checkpoint in memory whose tensors and JSON a test may change freely."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors

from tests.raw import INDEX, RawTensor, index_bytes, shard_bytes, write_files

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"

Tensors = dict[str, RawTensor]


class Bench:
    """A checkpoint to damage. ``shards`` and ``config`` are plain dictionaries, ``index`` may be None."""

    def __init__(self, fixture: str) -> None:
        folder = REAL / fixture
        self.shards = {path.name: read_official(path) for path in sorted(folder.glob("*.safetensors"))}
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.metadata: dict[str, str] | None = {"format": "pt"}
        index = folder / INDEX
        self.index: dict[str, Any] | None = json.loads(index.read_text()) if index.exists() else None

    @property
    def block(self) -> dict[str, Any]:
        """The quantization config."""
        block: dict[str, Any] = self.config["quantization_config"]
        return block

    def tensors(self, pattern: str) -> Iterator[tuple[Tensors, str]]:
        """The shard and the name of every tensor whose whole name matches."""
        for shard in self.shards.values():
            for name in list(shard):
                if re.fullmatch(pattern, name):
                    yield shard, name

    def rename(self, pattern: str, to: str) -> None:
        """Rename tensors, the index with them; the order in the file stays."""
        for file, shard in self.shards.items():
            self.shards[file] = {re.sub(f"^{pattern}$", to, name): RawTensor(*tensor) for name, tensor in shard.items()}
        if self.index is not None:
            self.index["weight_map"] = {
                re.sub(f"^{pattern}$", to, name): shard for name, shard in self.index["weight_map"].items()
            }

    def reshape(self, pattern: str, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> None:
        """Give tensors another shape of as many elements."""
        for shard, name in self.tensors(pattern):
            tensor = shard[name]
            shard[name] = RawTensor(tensor.dtype, change(tensor.shape), tensor.data)

    def drop(self, pattern: str) -> None:
        """Forget tensors; without an index."""
        for shard, name in self.tensors(pattern):
            del shard[name]

    def add(self, name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> None:
        """Store one more tensor in the last shard."""
        self.shards[list(self.shards)[-1]][name] = RawTensor(dtype, shape, data)

    def write(self, folder: Path) -> Path:
        """The damaged checkpoint as files."""
        files = {file: shard_bytes(tensors, self.metadata) for file, tensors in self.shards.items()}
        files["config.json"] = json.dumps(self.config, indent=2).encode()
        if self.index is not None:
            files[INDEX] = json.dumps(self.index, indent=2).encode()
        return write_files(folder, files)

    def true_index(self) -> None:
        """An index that says where everything is."""
        self.index = json.loads(index_bytes(self.shards))


def read_official(path: Path) -> Tensors:
    """A shard as the official library sees it, tensors in file order (the library gives them in no order)."""
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    found = dict(safetensors.deserialize(raw))
    return {
        name: RawTensor(found[name]["dtype"], tuple(found[name]["shape"]), bytes(found[name]["data"]))
        for name in sorted(found, key=lambda name: header[name]["data_offsets"])
    }


def read_folder(folder: Path) -> Tensors:
    """All tensors of a folder, by the official library."""
    return {
        name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in read_official(path).items()
    }
