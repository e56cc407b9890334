"""Real fixtures in memory, to be damaged one fact at a time, and then judged there or written to a folder.

Nothing here uses ckptkit's own reader or writer, so that a fault there cannot hide itself: reading goes through the
official safetensors library, writing through ``tests/raw.py``. A damage is a function that takes the checkpoint; the
functions at the end make the usual ones.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import safetensors

from ckptkit.dtypes import DTYPES
from tests.raw import INDEX, RawTensor, index_bytes, shard_bytes, write_files

REAL = Path(__file__).resolve().parents[1] / "fixtures" / "real"
CONFIG, METADATA = "config.json", "__metadata__"
#: The one shard of a checkpoint that has no more.
SHARD = "model.safetensors"

Tensors = dict[str, RawTensor]
Damage = Callable[["MutableCheckpoint"], object]

#: CT FP8_DYNAMIC, CT FP8 with a KV cache, Quark likewise, blocks, experts, shards: the usual fixtures.
CT, CT_FP8, CT_KV = "llama/llmcompressor-dynamic", "llama/llmcompressor-fp8", "llama/llmcompressor-fp8-kv"
QUARK, QUARK_FP8, QUARK_KV = "llama/quark-ptpc", "llama/quark-fp8", "llama/quark-fp8-kv"
QUARK_CUSTOM = "llama/quark-fp8-custom"
BLOCK, QUARK_BLOCK = "llama-block-aligned/llmcompressor-block", "llama-block-aligned/quark-block"
MOE, QUARK_MOE = "qwen3_moe/llmcompressor-dynamic", "qwen3_moe/quark-ptpc-experts"
SHARDED, QUARK_SHARDED = "llama/llmcompressor-dynamic-sharded", "llama/quark-ptpc-sharded"
GROUPS = "llama/llmcompressor-groups"
BF16, TIED = "llama/bf16", "llama-tied/llmcompressor-dynamic"


class Origin(NamedTuple):
    """A fixture as its files hold it, and as it was read."""

    raw: dict[str, bytes]
    shards: dict[str, Tensors]
    config: dict[str, Any]
    index: dict[str, Any] | None
    metadata: dict[str, str] | None


@dataclass
class MutableCheckpoint:
    """A checkpoint that may be changed freely: shards, config, index (None writes none), metadata of the shards.

    ``files`` holds the side files, and bytes that stand in for a file of these. Patterns are regular expressions for
    whole names, of which at least one must exist. ``rename`` keeps the index in step; after other changes to names
    ``true_index`` does.
    """

    shards: dict[str, Tensors]
    config: dict[str, Any]
    index: dict[str, Any] | None
    metadata: dict[str, str] | None
    files: dict[str, bytes]
    origin: Origin

    @property
    def block(self) -> dict[str, Any]:
        """The quantization config."""
        block: dict[str, Any] = self.config["quantization_config"]
        return block

    @property
    def group(self) -> dict[str, Any]:
        """The first config group of a compressed-tensors config."""
        group: dict[str, Any] = self.block["config_groups"]["group_0"]
        return group

    @property
    def tensors(self) -> Tensors:
        """The tensors of the one shard; a sharded fixture has to be changed through ``shards``."""
        (tensors,) = self.shards.values()
        return tensors

    def names(self, pattern: str) -> list[str]:
        """The names that match."""
        return [name for _, name in self.places(pattern)]

    def places(self, pattern: str) -> list[tuple[Tensors, str]]:
        """The shard and the name of every tensor whose name matches."""
        found = [(shard, name) for shard in self.shards.values() for name in shard if re.fullmatch(pattern, name)]
        assert found, f"no tensor is called {pattern}"
        return found

    def get(self, name: str) -> RawTensor:
        """One tensor."""
        return next(shard[name] for shard in self.shards.values() if name in shard)

    def everything(self) -> Tensors:
        """Every tensor by name, whatever the shards."""
        return {name: tensor for shard in self.shards.values() for name, tensor in shard.items()}

    def drop(self, pattern: str) -> None:
        """Forget tensors."""
        for shard, name in self.places(pattern):
            del shard[name]

    def rename(self, pattern: str, to: str) -> None:
        """Rename tensors, in the index too; ``to`` may use the pattern's groups. The order in the file stays."""
        new = {name: re.sub(f"^(?:{pattern})$", to, name) for name in self.names(pattern)}
        for shard in self.shards.values():
            renamed = {new.get(name, name): tensor for name, tensor in shard.items()}
            shard.clear()
            shard.update(renamed)
        if self.index is not None:
            places = self.index["weight_map"]
            self.index["weight_map"] = {new.get(name, name): shard for name, shard in places.items()}

    def change(self, pattern: str, function: Callable[[RawTensor], RawTensor]) -> None:
        """Replace tensors."""
        for shard, name in self.places(pattern):
            shard[name] = function(shard[name])

    def put(self, name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> None:
        """Store one more tensor, in the first shard."""
        next(iter(self.shards.values()))[name] = RawTensor(dtype, shape, data)

    def true_index(self) -> dict[str, Any]:
        """Make and use an index that says where everything is."""
        self.index = json.loads(index_bytes(self.shards))
        return self.index

    def to_files(self) -> dict[str, bytes]:
        """The checkpoint as files by name; what was not changed is spelled as in the fixture."""
        raw = self.origin.raw
        found = {file: shard_bytes(tensors, self.metadata) for file, tensors in self.shards.items()}
        found = {file: _with_header_of(raw[file], data) if file in raw else data for file, data in found.items()}
        for file, document in ((CONFIG, self.config), (INDEX, self.index)):
            if document is not None:
                same = file in raw and json.dumps(json.loads(raw[file])) == json.dumps(document)
                found[file] = raw[file] if same else json.dumps(document, indent=2).encode()
        return {**found, **self.files}

    def write(self, folder: Path) -> Path:
        """Write the files to a folder, which is returned."""
        return write_files(folder, self.to_files())


def load(fixture: str) -> MutableCheckpoint:
    """A real fixture, for example ``llama/quark-fp8``, ready to be damaged."""
    return _fresh(_origin(fixture))


def opened(raw: dict[str, bytes]) -> MutableCheckpoint:
    """Files of a checkpoint, ready to be damaged."""
    return _fresh(_read(raw))


def _fresh(origin: Origin) -> MutableCheckpoint:
    shards = {file: dict(tensors) for file, tensors in origin.shards.items()}
    side = {file: data for file, data in origin.raw.items() if file not in (*shards, CONFIG, INDEX)}
    return MutableCheckpoint(
        shards, deepcopy(origin.config), deepcopy(origin.index), deepcopy(origin.metadata), side, origin
    )


@cache
def _origin(fixture: str) -> Origin:
    return _read({path.name: path.read_bytes() for path in sorted((REAL / fixture).iterdir())})


def _read(raw: dict[str, bytes]) -> Origin:
    shards = {file: _tensors(data) for file, data in raw.items() if file.endswith(".safetensors")}
    (metadata,) = {json.dumps(read_header(raw[file]).get(METADATA)) for file in shards}
    index = json.loads(raw[INDEX]) if INDEX in raw else None
    return Origin(raw, shards, json.loads(raw[CONFIG]), index, json.loads(metadata))


def _with_header_of(old: bytes, new: bytes) -> bytes:
    """A shard with the header of another one, if both say the same: exporters differ in spaces."""
    if read_header(old) != read_header(new):
        return new
    return old[: _data_start(old)] + new[_data_start(new) :]


def _data_start(raw: bytes | bytearray) -> int:
    return 8 + int.from_bytes(raw[:8], "little")


def read_shard(path: Path) -> Tensors:
    """Every tensor of one file as the official library sees it, in file order (the library gives them in none)."""
    return _tensors(path.read_bytes())


def _tensors(raw: bytes) -> Tensors:
    header = read_header(raw)
    found = dict(safetensors.deserialize(raw))
    return {
        name: RawTensor(found[name]["dtype"], tuple(found[name]["shape"]), bytes(found[name]["data"]))
        for name in sorted(found, key=lambda name: header[name]["data_offsets"])
    }


def read_header(raw: bytes | bytearray) -> dict[str, Any]:
    """The header of a safetensors file: an entry for each tensor, and the metadata."""
    header: dict[str, Any] = json.loads(raw[8 : _data_start(raw)])
    return header


def entries(raw: bytes | bytearray) -> dict[str, Any]:
    """The entries of a safetensors file by tensor."""
    return {name: entry for name, entry in read_header(raw).items() if name != METADATA}


def tensors_of(folder: Path) -> Tensors:
    """Every tensor of a folder by name, whatever the shards."""
    found: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update(read_shard(path))
    return found


def off_boundary(folder: Path) -> list[str]:
    """Tensors of a folder whose data does not start on a multiple of its element size, from the first data byte on."""
    return [
        name
        for path in sorted(folder.glob("*.safetensors"))
        for name, entry in entries(path.read_bytes()).items()
        if entry["data_offsets"][0] % max(1, DTYPES[entry["dtype"]].bits // 8)
    ]


def flip(folder: Path, ending: str) -> str:
    """Change the lowest bit of the first byte of one stored tensor, in place; its name is returned."""
    for path in sorted(folder.glob("*.safetensors")):
        raw = bytearray(path.read_bytes())
        for name, entry in entries(raw).items():
            if name.endswith(ending):
                raw[_data_start(raw) + entry["data_offsets"][0]] ^= 1
                path.write_bytes(raw)
                return name
    raise AssertionError(f"no tensor ends with {ending}")


def exactly(name: str) -> str:
    """A pattern for one name."""
    return re.escape(name)


def count(tensor: RawTensor) -> int:
    """The number of elements."""
    return math.prod(tensor.shape)


def bf16(value: float) -> bytes:
    """A value that BF16 holds exactly, as bytes."""
    raw = struct.pack("<f", value)
    assert raw[:2] == b"\0\0", f"{value} is not a BF16 number"
    return raw[2:]


def f32(*numbers: float) -> bytes:
    """Values of F32 as bytes."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def scalar(value: float, shape: tuple[int, ...] = ()) -> RawTensor:
    """A BF16 scalar."""
    return RawTensor("BF16", shape, bf16(value))


def reshaped(*extents: int) -> Callable[[RawTensor], RawTensor]:
    """The same bytes in another shape; -1 stands for the number of elements."""
    return lambda tensor: tensor._replace(shape=tuple(count(tensor) if extent == -1 else extent for extent in extents))


def steps(*damages: Damage) -> Damage:
    """Several damages as one."""

    def run(checkpoint: MutableCheckpoint) -> None:
        for damage in damages:
            damage(checkpoint)

    run.__name__ = getattr(damages[0], "__name__", "run")
    return run


def dtype(pattern: str, code: str) -> Damage:
    """Tag tensors with another dtype of the same width."""
    return lambda checkpoint: checkpoint.change(pattern, lambda tensor: tensor._replace(dtype=code))


def shape(pattern: str, *extents: int) -> Damage:
    """Give tensors another shape of as many elements; -1 stands for all of them."""
    return lambda checkpoint: checkpoint.change(pattern, reshaped(*extents))


def drop(pattern: str) -> Damage:
    """Remove tensors."""
    return lambda checkpoint: checkpoint.drop(pattern)


def rename(pattern: str, to: str) -> Damage:
    """Rename tensors."""
    return lambda checkpoint: checkpoint.rename(pattern, to)


def put(name: str, code: str, extents: tuple[int, ...], data: bytes) -> Damage:
    """Store one more tensor."""
    return lambda checkpoint: checkpoint.put(name, code, extents, data)


def values(pattern: str, value: float) -> Damage:
    """Set every element of BF16 tensors."""

    def fill(checkpoint: MutableCheckpoint) -> None:
        checkpoint.change(pattern, lambda tensor: tensor._replace(data=bf16(value) * (len(tensor.data) // 2)))

    return fill


def set_config(**keys: Any) -> Damage:
    """Set or, with None, remove top-level keys of config.json."""

    def configure(checkpoint: MutableCheckpoint) -> None:
        for key, value in keys.items():
            if value is None:
                checkpoint.config.pop(key, None)
            else:
                checkpoint.config[key] = value

    return configure


def set_block(**keys: Any) -> Damage:
    """Set keys of the quantization config."""
    return lambda checkpoint: checkpoint.block.update(keys)


def skip(*entries: str) -> Damage:
    """More entries of the skip list of a compressed-tensors or Quark config."""
    return lambda checkpoint: checkpoint.block["exclude" if "exclude" in checkpoint.block else "ignore"].extend(entries)


def high_precision(pattern: str) -> Damage:
    """Store modules in BF16 and drop their scales, as an exporter that left them alone would: the same numbers."""
    from tests.accuracy.plain import in_high_precision

    def change(checkpoint: MutableCheckpoint) -> None:
        for name in checkpoint.names(rf"{pattern}\.weight"):
            plain = in_high_precision(name, checkpoint.everything())
            checkpoint.change(exactly(name), lambda t, plain=plain: plain)  # type: ignore[misc]
        for ending in ("weight_scale", "input_scale"):
            if any(name.endswith(ending) for name in checkpoint.everything()):
                checkpoint.drop(rf"{pattern}\.{ending}")

    return change


def left_alone(module: str) -> Damage:
    """One module in high precision, and the skip list says so."""
    return steps(high_precision(exactly(module)), skip(module))


def plain_fp8(checkpoint: MutableCheckpoint) -> None:
    """Block scales of a compressed-tensors export under vLLM's plain fp8 config: a DeepSeek checkpoint."""
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    checkpoint.config["quantization_config"] = {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "ignored_layers": ["lm_head"],
    }
