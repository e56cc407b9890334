"""A checkpoint as it would be after some edits: headers and JSON in memory, every payload still where it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import Any

from ckptkit.edits import layout
from ckptkit.edits.changes import CONFIG_EDITS, Edit
from ckptkit.edits.editor import Editor
from ckptkit.errors import Fault
from ckptkit.operations.outputs import keep
from ckptkit.operations.stream import stream
from ckptkit.record import record
from ckptkit.storage.container import CONFIG_FILE, Container, open_container
from ckptkit.storage.index import INDEX_FILE, build_index
from ckptkit.storage.output import OutputFile, OutputShard, OutputTensor, VirtualContainer
from ckptkit.storage.payload import ByteRange, Inline
from ckptkit.storage.virtual import VirtualSource

#: Faults of index entries that cannot be followed and are left out when an index is read.
_ASTRAY = ("index-outside-folder", "index-not-a-shard")


@record
class Workspace:
    """The original container and what has become of it.

    ``documents`` are config.json and, once an edit names them, other JSON files. ``changed`` names the files that
    differ from the original's; ``weight_map`` is None where there is no index.
    """

    original: Container
    shards: Mapping[str, tuple[OutputTensor, ...]]
    metadata: Mapping[str, dict[str, str] | None]
    documents: Mapping[str, dict[str, Any]]
    weight_map: dict[str, str] | None
    changed: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, container: Container) -> Workspace:
        """An unchanged workspace."""
        return cls(
            original=container,
            shards={
                header.shard: tuple(keep(tensor) for tensor in header.tensors.values()) for header in container.headers
            },
            metadata={header.shard: header.metadata for header in container.headers},
            documents={CONFIG_FILE: dict(container.config)},
            weight_map=dict(container.index.weight_map) if container.index else None,
        )

    def apply(self, changes: Iterable[Edit]) -> Workspace:
        """The workspace after some edits, all or none. Raises EditConflictError."""
        changes = tuple(changes)
        editor = Editor(
            sound=frozenset(header.shard for header in self.original.headers if header.readable),
            complete=not any(self._hides_tensors(fault) for fault in self.original.faults),
            shards={shard: {tensor.name: tensor for tensor in own} for shard, own in self.shards.items()},
            metadata=dict(self.metadata),
            documents=copy.deepcopy({**self.documents, **dict(self._read(changes))}),
            weight_map=None if self.weight_map is None else dict(self.weight_map),
            changed=set(self.changed),
        )
        for change in changes:
            editor.make(change)
        return replace(
            self,
            shards={shard: tuple(tensors.values()) for shard, tensors in editor.shards.items()},
            metadata=editor.metadata,
            documents=editor.documents,
            weight_map=editor.weight_map,
            changed=frozenset(editor.changed),
        )

    def _read(self, changes: Iterable[Edit]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The JSON files beside config.json that some edits name, as far as they hold an object."""
        for name in {change.file for change in changes if isinstance(change, CONFIG_EDITS)} - self.documents.keys():
            document, _ = self.original.json_file(name)
            if document is not None:
                yield name, document

    def _hides_tensors(self, fault: Fault) -> bool:
        """Whether there may be tensors of which only the index on disk tells."""
        astray = fault.kind in _ASTRAY and fault.tensor not in self.original.tensors
        return fault.kind == "shard-missing" or astray

    def origin(self, name: str) -> str:
        """The name that a tensor had in the original, for one that is stored now; else the name itself."""
        return self._origins.get(name, name)

    @cached_property
    def _origins(self) -> dict[str, str]:
        return {
            tensor.name: tensor.source.name
            for tensors in self.shards.values()
            for tensor in tensors
            if tensor.inputs and tensor.name != tensor.source.name
        }

    def reopened(self) -> Container:
        """The container that a stranger would find, parsed from the bytes that would be written."""
        return open_container(VirtualSource(self.virtual(), self.original.source, stream))

    def virtual(self, *, changed_only: bool = False) -> VirtualContainer:
        """The files to be written: all, those that do not differ byte for byte, or only those that differ."""
        shards = tuple(self._output_shard(shard) for shard in self.shards if shard in self.changed)
        files = []
        files += [OutputFile(name, Inline(self.text_of(name).encode("utf-8"))) for name in self.changed_documents]
        if INDEX_FILE in self.changed:
            files.append(OutputFile(INDEX_FILE, Inline(self._index_bytes())))
        if not changed_only:
            entries = self.original.source.files()
            files += [OutputFile(e.name, ByteRange(e.name, 0, e.size)) for e in entries if e.name not in self.changed]
        return VirtualContainer(shards, tuple(files))

    def _output_shard(self, shard: str) -> OutputShard:
        return layout.lay_out(shard, self.shards[shard], self.metadata[shard])

    def _index_bytes(self) -> bytes:
        index = self.original.index
        placed = self.weight_map or {}
        total = sum(tensor.nbytes for tensors in self.shards.values() for tensor in tensors)
        return build_index(placed, total, index.metadata if index else {}, index.extra if index else {})

    @property
    def changed_documents(self) -> tuple[str, ...]:
        """The JSON files that differ from the original's, the index aside: config.json first."""
        return tuple(name for name in self.documents if name in self.changed)

    def original_text_of(self, name: str) -> str:
        """A JSON file as it is; empty where there is none that could be read."""
        is_there = name != CONFIG_FILE or self.original.config
        return self.original.source.read(name).decode("utf-8") if is_there else ""

    def text_of(self, name: str) -> str:
        """A JSON file as it would be, indented as the original is, so that only what changes differs."""
        return layout.config_text(self.documents[name], self.original_text_of(name))
