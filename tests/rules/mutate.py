"""A real fixture in memory, to be damaged one fact at a time and judged without touching the disk."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.checks.runner import Report
from ckptkit.storage.container import open_container
from tests.broken import REAL, bf16, read_shard
from tests.raw import INDEX, MemorySource, RawTensor, index_bytes, shard_bytes, write_files

SHARD = "model.safetensors"
Change = Callable[["Draft"], None]

#: CT FP8_DYNAMIC, CT FP8 with a KV cache, Quark likewise, blocks, experts, shards: the usual bases of cases.
CT, CT_FP8, CT_KV = "llama/llmcompressor-dynamic", "llama/llmcompressor-fp8", "llama/llmcompressor-fp8-kv"
QUARK, QUARK_FP8, QUARK_KV = "llama/quark-ptpc", "llama/quark-fp8", "llama/quark-fp8-kv"
QUARK_CUSTOM = "llama/quark-fp8-custom"
BLOCK, QUARK_BLOCK = "llama-block-aligned/llmcompressor-block", "llama-block-aligned/quark-block"
MOE, QUARK_MOE = "qwen3_moe/llmcompressor-dynamic", "qwen3_moe/quark-ptpc-experts"
SHARDED, QUARK_SHARDED, GROUPS = (
    "llama/llmcompressor-dynamic-sharded",
    "llama/quark-ptpc-sharded",
    "llama/llmcompressor-groups",
)
BF16, TIED = "llama/bf16", "llama-tied/llmcompressor-dynamic"


@dataclass
class Draft:
    """A checkpoint that may be changed freely. ``index`` None writes none; ``files`` replaces or adds raw files."""

    shards: dict[str, dict[str, RawTensor]]
    config: dict[str, Any]
    index: dict[str, Any] | None
    metadata: dict[str, str] | None = field(default_factory=lambda: {"format": "pt"})
    files: dict[str, bytes] = field(default_factory=dict)

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

    def names(self, pattern: str) -> list[str]:
        """Tensors whose whole name matches; at least one must."""
        found = [name for shard in self.shards.values() for name in shard if re.fullmatch(pattern, name)]
        assert found, f"no tensor is called {pattern}"
        return found

    def _each(self, pattern: str) -> Iterator[tuple[dict[str, RawTensor], str]]:
        wanted = set(self.names(pattern))
        for shard in self.shards.values():
            for name in [name for name in shard if name in wanted]:
                yield shard, name

    def drop(self, pattern: str) -> None:
        for shard, name in self._each(pattern):
            del shard[name]

    def rename(self, pattern: str, to: str) -> None:
        """Rename tensors; ``to`` may use the pattern's groups. The order in the file stays."""
        self.names(pattern)
        for file, shard in self.shards.items():
            self.shards[file] = {re.sub(f"^(?:{pattern})$", to, name): tensor for name, tensor in shard.items()}

    def change(self, pattern: str, function: Callable[[RawTensor], RawTensor]) -> None:
        for shard, name in self._each(pattern):
            shard[name] = function(shard[name])

    def put(self, name: str, dtype: str, shape: tuple[int, ...], data: bytes) -> None:
        """Store one more tensor, in the first shard."""
        next(iter(self.shards.values()))[name] = RawTensor(dtype, shape, data)

    def get(self, name: str) -> RawTensor:
        return next(shard[name] for shard in self.shards.values() if name in shard)

    def to_files(self) -> dict[str, bytes]:
        found = {file: shard_bytes(tensors, self.metadata) for file, tensors in self.shards.items()}
        found["config.json"] = json.dumps(self.config).encode()
        if self.index is not None:
            found[INDEX] = json.dumps(self.index).encode()
        return {**found, **self.files}

    def true_index(self) -> dict[str, Any]:
        """Make and use an index that says where everything is."""
        self.index = json.loads(index_bytes(self.shards))
        return self.index

    def write(self, folder: Path) -> Path:
        return write_files(folder, self.to_files())

    def report(self, level: Level = Level.SCALES) -> Report:
        """What the rules say, without a disk."""
        return runner.run(runner.read_context(open_container(MemorySource(self.to_files()))), level)

    def codes(self, level: Level = Level.SCALES) -> frozenset[str]:
        return frozenset(finding.code for finding in self.report(level).findings)


@cache
def _stored(fixture: str) -> tuple[dict[str, dict[str, RawTensor]], str, str | None]:
    folder = REAL / fixture
    shards = {path.name: read_shard(path) for path in sorted(folder.glob("*.safetensors"))}
    index = folder / INDEX
    return shards, (folder / "config.json").read_text("utf-8"), index.read_text("utf-8") if index.exists() else None


def load(fixture: str) -> Draft:
    """A real fixture, for example ``llama/quark-fp8``, ready to be damaged."""
    shards, config, index = _stored(fixture)
    copied = {file: dict(tensors) for file, tensors in shards.items()}
    return Draft(copied, json.loads(config), None if index is None else json.loads(index))


@cache
def base_codes(fixture: str, level: Level) -> frozenset[str]:
    """What is found in the fixture itself."""
    return load(fixture).codes(level)


@dataclass(frozen=True)
class Case:
    """One rule, tested in both directions: ``fires`` must bring its code, ``near`` must not.

    ``also`` lists further codes that the same damage rightly brings: consequences, not false alarms; ``near_also``
    those of the near miss. ``given`` is done to the fixture first, and what it brings does not count.
    """

    code: str
    base: str
    fires: Change
    near: Change
    also: frozenset[str] = frozenset()
    near_also: frozenset[str] = frozenset()
    level: Level = Level.SCALES
    given: Change | None = None

    def new_codes(self, change: Change) -> frozenset[str]:
        """The codes that a change brings to what was there before."""
        before, after = load(self.base), load(self.base)
        for draft in (before, after):
            if self.given is not None:
                self.given(draft)
        change(after)
        known = before.codes(self.level) if self.given is not None else base_codes(self.base, self.level)
        return after.codes(self.level) - known


def steps(*changes: Change) -> Change:
    """Several changes as one."""

    def run(draft: Draft) -> None:
        for change in changes:
            change(draft)

    run.__name__ = changes[0].__name__
    return run


def dtype(pattern: str, code: str) -> Change:
    """Tag tensors with another dtype of the same width."""

    def retag(draft: Draft) -> None:
        draft.change(pattern, lambda tensor: tensor._replace(dtype=code))

    return retag


def shape(pattern: str, *extents: int) -> Change:
    """Give tensors another shape of as many elements; -1 stands for all of them."""

    def reshape(draft: Draft) -> None:
        def change(tensor: RawTensor) -> RawTensor:
            count = 1
            for extent in tensor.shape:
                count *= extent
            return tensor._replace(shape=tuple(count if extent == -1 else extent for extent in extents))

        draft.change(pattern, change)

    return reshape


def drop(pattern: str) -> Change:
    """Remove tensors."""

    def remove(draft: Draft) -> None:
        draft.drop(pattern)

    return remove


def rename(pattern: str, to: str) -> Change:
    """Rename tensors."""

    def change(draft: Draft) -> None:
        draft.rename(pattern, to)

    return change


def put(name: str, code: str, extents: tuple[int, ...], data: bytes) -> Change:
    """Store one more tensor."""

    def add(draft: Draft) -> None:
        draft.put(name, code, extents, data)

    return add


def values(pattern: str, value: float) -> Change:
    """Set every element of BF16 tensors."""

    def fill(draft: Draft) -> None:
        draft.change(pattern, lambda tensor: tensor._replace(data=bf16(value) * (len(tensor.data) // 2)))

    return fill


def f32(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def set_config(**keys: Any) -> Change:
    """Set or, with None, remove top-level keys of config.json."""

    def configure(draft: Draft) -> None:
        for key, value in keys.items():
            if value is None:
                draft.config.pop(key, None)
            else:
                draft.config[key] = value

    return configure


def set_block(**keys: Any) -> Change:
    """Set keys of the quantization config."""

    def configure(draft: Draft) -> None:
        draft.block.update(keys)

    return configure


def nothing(draft: Draft) -> None:
    """The fixture as it is."""
