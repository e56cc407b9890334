"""Checkpoints bent on purpose: load a real fixture, change its config or tensors, write it somewhere else.

Nothing here uses ckptkit's own reader or writer, so that a fault there cannot hide itself. Reading goes through
the official safetensors library, writing through ``tests/raw.py``.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from ckptkit.dtypes import DTYPES
from tests.raw import INDEX, RawTensor, index_bytes, shard_bytes

REAL = Path(__file__).resolve().parents[1] / "fixtures" / "real"
CONFIG = "config.json"


def read_shard(path: Path) -> dict[str, RawTensor]:
    """Every tensor of one file, wide elements first as the official writer puts them, read with that library."""
    entries = safetensors.deserialize(path.read_bytes())
    tensors = {name: RawTensor(e["dtype"], tuple(e["shape"]), bytes(e["data"])) for name, e in entries}
    return dict(sorted(tensors.items(), key=lambda item: (-DTYPES[item[1].dtype].bits, item[0])))


def tensors_of(folder: Path) -> dict[str, RawTensor]:
    """Every tensor of a folder by name, whatever the shards."""
    found: dict[str, RawTensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update(read_shard(path))
    return found


@dataclass
class Checkpoint:
    """A checkpoint folder in memory, free to be changed: ``config``, ``tensors``, side files."""

    origin: Path
    config: dict[str, Any]
    shards: dict[str, dict[str, RawTensor]]
    metadata: dict[str, str] | None

    @property
    def block(self) -> dict[str, Any]:
        """The quantization config."""
        block: dict[str, Any] = self.config["quantization_config"]
        return block

    @property
    def tensors(self) -> dict[str, RawTensor]:
        """The tensors of the one shard; a sharded fixture has to be changed through ``shards``."""
        (tensors,) = self.shards.values()
        return tensors

    def rename(self, old: str, new: str) -> None:
        """Rename every tensor whose name ends with ``old``; at least one must exist."""
        found = [name for name in self.tensors if name.endswith(old)]
        assert found, f"no tensor ends with {old}"
        for shard in self.shards.values():
            renamed = {n.removesuffix(old) + new if n.endswith(old) else n: t for n, t in shard.items()}
            shard.clear()
            shard.update(renamed)

    def drop(self, ending: str) -> None:
        """Drop every tensor whose name ends so; at least one must exist."""
        found = [name for name in self.tensors if name.endswith(ending)]
        assert found, f"no tensor ends with {ending}"
        for name in found:
            del self.tensors[name]

    def change(self, ending: str, function: Callable[[RawTensor], RawTensor]) -> None:
        """Replace every tensor whose name ends so; at least one must exist."""
        found = [name for name in self.tensors if name.endswith(ending)]
        assert found, f"no tensor ends with {ending}"
        for name in found:
            self.tensors[name] = function(self.tensors[name])

    def write(self, folder: Path) -> Path:
        """Write the folder, with the side files of the fixture that it came from."""
        folder.mkdir(parents=True)
        for path in self.origin.iterdir():
            if path.suffix != ".safetensors" and path.name not in (CONFIG, INDEX):
                shutil.copyfile(path, folder / path.name)
        (folder / CONFIG).write_text(json.dumps(self.config), encoding="utf-8")
        for name, tensors in self.shards.items():
            (folder / name).write_bytes(shard_bytes(tensors, self.metadata))
        if len(self.shards) > 1:
            (folder / INDEX).write_bytes(index_bytes(self.shards))
        return folder


def load(fixture: str) -> Checkpoint:
    """A real fixture, for example ``llama/quark-fp8``, ready to be bent."""
    folder = REAL / fixture
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    shards = {path.name: read_shard(path) for path in sorted(folder.glob("*.safetensors"))}
    return Checkpoint(folder, config, shards, {"format": "pt"})


def reshaped(*shape: int) -> Callable[[RawTensor], RawTensor]:
    """The same bytes in another shape; -1 stands for the number of elements."""

    def change(tensor: RawTensor) -> RawTensor:
        count = 1
        for extent in tensor.shape:
            count *= extent
        return tensor._replace(shape=tuple(count if extent == -1 else extent for extent in shape))

    return change


def flip(folder: Path, ending: str) -> str:
    """Change the lowest bit of the first byte of one stored tensor, in place; its name is returned."""
    for path in sorted(folder.glob("*.safetensors")):
        raw = bytearray(path.read_bytes())
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        for name, entry in header.items():
            if name.endswith(ending):
                raw[8 + length + entry["data_offsets"][0]] ^= 1
                path.write_bytes(raw)
                return str(name)
    raise AssertionError(f"no tensor ends with {ending}")


def bf16(value: float) -> bytes:
    """A value that BF16 holds exactly, as bytes."""
    raw = struct.pack("<f", value)
    assert raw[:2] == b"\0\0", f"{value} is not a BF16 number"
    return raw[2:]


def scalar(value: float, shape: tuple[int, ...] = ()) -> RawTensor:
    """A BF16 scalar."""
    return RawTensor("BF16", shape, bf16(value))
