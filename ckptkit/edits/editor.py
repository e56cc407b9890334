"""Making edits: the one place where a checkpoint's names, shapes, metadata, config and index are changed, in a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckptkit.edits import changes
from ckptkit.edits.changes import ConfigEdit, Edit, TensorEdit
from ckptkit.errors import json_path
from ckptkit.operations import outputs
from ckptkit.operations.operation import OperationError
from ckptkit.storage.index import INDEX_FILE
from ckptkit.storage.output import AS_STORED, OutputTensor


class EditConflictError(Exception):
    """An edit cannot be made: what it names is not there, or what it would make is there already."""


@dataclass
class Editor:
    """A workspace under change: ``sound`` shards may be rewritten, ``complete`` is False if a shard is missing, and
    ``documents`` are config.json and the JSON files beside it that formats have.

    Everything here is a copy that the caller gives away; an edit that cannot be made raises EditConflictError.
    """

    sound: frozenset[str]
    complete: bool
    shards: dict[str, dict[str, OutputTensor]]
    metadata: dict[str, dict[str, str] | None]
    documents: dict[str, dict[str, Any]]
    weight_map: dict[str, str] | None
    changed: set[str]

    def make(self, change: Edit) -> None:
        """Make one edit."""
        if isinstance(change, changes.TENSOR_EDITS):
            self._change_tensor(change)
            self._follow_in_index(change)
        elif isinstance(change, changes.SetMetadata):
            self._require_sound(change.shard)
            self.metadata[change.shard] = {**(self.metadata[change.shard] or {}), change.key: change.value}
            self.changed.add(change.shard)
        elif isinstance(change, changes.RebuildIndex):
            self._rebuild_index(change)
        else:
            self._change_document(change)

    def _change_document(self, change: ConfigEdit) -> None:
        if change.file not in self.documents:
            raise EditConflictError(f"{change.file} is not there or holds no JSON object")
        change_config(self.documents[change.file], change)
        self.changed.add(change.file)

    def _change_tensor(self, change: TensorEdit) -> None:
        self._require_sound(change.shard)
        tensors = self.shards[change.shard]
        tensor = tensors.get(change.tensor)
        if tensor is None:
            raise EditConflictError(f"{change.tensor} is not stored in {change.shard}")
        try:
            self._changed_tensor(change, tensors, tensor)
        except OperationError as error:
            raise EditConflictError(str(error)) from error
        self.changed.add(change.shard)

    def _changed_tensor(self, change: TensorEdit, tensors: dict[str, OutputTensor], tensor: OutputTensor) -> None:
        if isinstance(change, changes.Reshape):
            tensors[change.tensor] = outputs.reshaped(tensor, change.to)
        elif isinstance(change, changes.TakeValue):
            tensors[change.tensor] = outputs.with_value_of(tensor, self._stored(change.donor))
        elif isinstance(change, changes.Compute):
            inputs = (tensor.inputs[0], *(self._stored(name).inputs[0] for name in change.others))
            made = outputs.computed(tensor.name, change.operation, inputs, change.parameters, shape=tensor.shape)
            tensors[change.tensor] = made
        elif isinstance(change, changes.Drop):
            del tensors[change.tensor]
        elif isinstance(change, changes.Move):
            self._require_sound(change.to)
            del tensors[change.tensor]
            self.shards[change.to][change.tensor] = tensor
            self.changed.add(change.to)
        elif any(change.to in others for others in self.shards.values()):
            raise EditConflictError(f"{change.to} is stored already")
        elif isinstance(change, changes.Rename):
            tensors[change.to] = outputs.renamed(tensor, change.to)
            del tensors[change.tensor]
        else:
            tensors[change.to] = tensor._replace(name=change.to, operation=_duplicate(tensor))

    def _stored(self, name: str) -> OutputTensor:
        found = next((others[name] for others in self.shards.values() if name in others), None)
        if found is None:
            raise EditConflictError(f"{name} is not stored")
        return found

    def _follow_in_index(self, change: TensorEdit) -> None:
        """Keep the index true to what just happened to a tensor; entries that were wrong before stay as they are."""
        if self.weight_map is None or isinstance(change, (changes.Reshape, changes.TakeValue, changes.Compute)):
            return
        if self.weight_map.get(change.tensor) == change.shard:
            if isinstance(change, changes.Move):
                self.weight_map[change.tensor] = change.to
            elif not isinstance(change, changes.Drop):
                self.weight_map[change.to] = change.shard
            if isinstance(change, (changes.Rename, changes.Drop)):
                del self.weight_map[change.tensor]
        self.changed.add(INDEX_FILE)

    def _rebuild_index(self, change: changes.RebuildIndex) -> None:
        if not self.complete:
            raise EditConflictError("a shard or an entry is missing: the index is the only record of what it held")
        if change.places or self.weight_map is None:
            for shard in self.shards:
                self._require_sound(shard)
            stored = {name: shard for shard, items in self.shards.items() for name in items}
            # An entry for what no shard holds is the only trace of a tensor that was lost.
            lost = {name: shard for name, shard in (self.weight_map or {}).items() if name not in stored}
            self.weight_map = {**lost, **stored}
        self.changed.add(INDEX_FILE)

    def _require_sound(self, shard: str) -> None:
        if shard not in self.sound:
            raise EditConflictError(f"{shard} is damaged or not there")


def _duplicate(tensor: OutputTensor) -> str:
    """The operation that stores a tensor once more: computed ones are computed again."""
    return "duplicate" if tensor.operation in AS_STORED else tensor.operation


def change_config(config: dict[str, Any], change: ConfigEdit) -> None:
    """Make one edit in a config, which is changed in place: the caller owns the copy. Raises EditConflictError."""
    *way, last = change.path
    missing = EditConflictError(f"{change.file} has no {json_path(change.path)}")
    parent: Any = config
    for part in way:
        if (
            isinstance(change, (changes.SetKey, changes.AddItem))
            and isinstance(parent, dict)
            and parent.get(part) is None
        ):
            parent[part] = {}
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            raise missing from None
    if isinstance(change, changes.SetKey) and isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        parent[last] = change.value
        return
    if not isinstance(parent, dict):
        raise missing
    if isinstance(change, (changes.AddItem, changes.RemoveItem)) and not isinstance(
        parent.get(last), (list, type(None))
    ):
        raise EditConflictError(f"{change.file} has no list at {json_path(change.path)}")
    if isinstance(change, changes.SetKey):
        parent[last] = change.value
    elif isinstance(change, changes.AddItem):
        parent[last] = [*(item for item in parent.get(last) or [] if item != change.item), change.item]
    elif last not in parent:
        raise missing
    elif isinstance(change, changes.RemoveKey):
        del parent[last]
    elif isinstance(change, changes.RemoveItem):
        parent[last] = [item for item in parent[last] or [] if item != change.item]
    elif change.to in parent:
        raise EditConflictError(f"{change.file} has {change.to} already")
    else:
        pairs = [(change.to if key == last else key, value) for key, value in parent.items()]
        parent.clear()
        parent.update(pairs)
