"""A checkpoint as it would be after some edits: headers and JSON in memory, every payload still where it was."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ckptkit.dtypes import BITS
from ckptkit.edits.changes import Edit
from ckptkit.edits.editor import Editor, Item
from ckptkit.storage.container import CONFIG_FILE, Container, open_container
from ckptkit.storage.index import INDEX_FILE, build_index
from ckptkit.storage.payload import (
    ByteRange,
    Inline,
    OutputFile,
    OutputShard,
    OutputTensor,
    TensorRef,
    VirtualContainer,
)
from ckptkit.storage.virtual import VirtualSource


@dataclass(frozen=True)
class Workspace:
    """The original container and what has become of it.

    ``changed`` names the files that differ from the original's; ``weight_map`` is None where there is no index.
    """

    original: Container
    shards: Mapping[str, tuple[Item, ...]]
    metadata: Mapping[str, dict[str, str] | None]
    config: dict[str, Any]
    weight_map: dict[str, str] | None
    changed: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, container: Container) -> Workspace:
        """An unchanged workspace."""
        return cls(
            original=container,
            shards={
                header.shard: tuple(
                    Item(tensor, tensor.name, tensor.shape)
                    for tensor in sorted(header.tensors.values(), key=lambda t: (t.start, t.nbytes))
                )
                for header in container.headers
            },
            metadata={header.shard: header.metadata for header in container.headers},
            config=dict(container.config),
            weight_map=dict(container.index.weight_map) if container.index else None,
        )

    def apply(self, changes: Iterable[Edit]) -> Workspace:
        """The workspace after some edits, all or none. Raises EditConflictError."""
        editor = Editor(
            sound=frozenset(header.shard for header in self.original.headers if header.readable),
            complete=all(fault.kind != "shard-missing" for fault in self.original.faults),
            shards={shard: {item.name: item for item in items} for shard, items in self.shards.items()},
            metadata=dict(self.metadata),
            config=copy.deepcopy(self.config),
            weight_map=None if self.weight_map is None else dict(self.weight_map),
            changed=set(self.changed),
        )
        for change in changes:
            editor.make(change)
        return replace(
            self,
            shards={shard: tuple(sorted(items.values(), key=_place)) for shard, items in editor.shards.items()},
            metadata=editor.metadata,
            config=editor.config,
            weight_map=editor.weight_map,
            changed=frozenset(editor.changed),
        )

    def origin(self, name: str) -> str:
        """The name that a tensor had in the original, for one that is stored now; else the name itself."""
        return self._origins.get(name, name)

    @cached_property
    def _origins(self) -> dict[str, str]:
        return {
            item.name: item.origin.name
            for items in self.shards.values()
            for item in items
            if item.name != item.origin.name
        }

    def reopened(self) -> Container:
        """The container that a stranger would find, parsed from the bytes that would be written."""
        return open_container(VirtualSource(self.virtual(), self.original.source))

    def virtual(self, *, changed_only: bool = False) -> VirtualContainer:
        """The files to be written: all, those that do not differ byte for byte, or only those that differ."""
        shards = tuple(self._output_shard(shard) for shard in self.shards if shard in self.changed)
        files = []
        if CONFIG_FILE in self.changed:
            files.append(OutputFile(CONFIG_FILE, Inline(self.config_text.encode("utf-8"))))
        if INDEX_FILE in self.changed:
            files.append(OutputFile(INDEX_FILE, Inline(self._index_bytes())))
        if not changed_only:
            entries = self.original.source.files()
            files += [OutputFile(e.name, ByteRange(e.name, 0, e.size)) for e in entries if e.name not in self.changed]
        return VirtualContainer(shards, tuple(files))

    def _output_shard(self, shard: str) -> OutputShard:
        tensors = [
            OutputTensor(item.name, item.origin.dtype, item.shape, _payload(item.donor or item.origin))
            for item in self.shards[shard]
        ]
        return OutputShard(shard, tuple(_aligned(tensors)), self.metadata[shard])

    def _index_bytes(self) -> bytes:
        index = self.original.index
        placed = self.weight_map or {}
        total = sum(item.origin.nbytes for items in self.shards.values() for item in items)
        return build_index(placed.items(), total, index.metadata if index else {}, index.extra if index else {})

    @cached_property
    def original_config_text(self) -> str:
        """config.json as it is."""
        return self.original.source.read(CONFIG_FILE).decode("utf-8") if self.original.config else ""

    @cached_property
    def config_text(self) -> str:
        """config.json as it would be, indented as the original is, so that only what changes differs."""
        text = self.original_config_text
        indentation = re.search(r"^[{\[]\s*\n([ \t]+)", text)
        ending = "\n" if text.endswith("\n") or not text else ""
        indent = indentation[1] if indentation else None if text.startswith('{"') else "  "
        return json.dumps(self.config, indent=indent, ensure_ascii=text.isascii() and "\\u" in text) + ending


def _aligned(tensors: list[OutputTensor]) -> list[OutputTensor]:
    """The tensors in an order in which each starts on a multiple of its element size, the present one if it will do."""
    offset = 0
    for tensor in tensors:
        if offset % max(1, BITS[tensor.dtype] // 8):
            return sorted(tensors, key=lambda item: -BITS[item.dtype])
        offset += tensor.nbytes
    return tensors


def _place(item: Item) -> tuple[str, int, int, str]:
    """The order of data: as it was, with what came from other shards in the order of theirs."""
    return (item.origin.shard, item.origin.start, item.origin.nbytes, item.name)


def _payload(tensor: TensorRef) -> ByteRange:
    return ByteRange(tensor.shard, tensor.start, tensor.nbytes)
