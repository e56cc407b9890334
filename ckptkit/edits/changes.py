"""Edits as data: the few things that a fix can do to a checkpoint, each with the words in which it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from ckptkit.errors import json_path
from ckptkit.record import record
from ckptkit.storage.container import CONFIG_FILE

Path: TypeAlias = tuple[str | int, ...]


@record
class Rename:
    """A stored tensor gets another name."""

    shard: str
    tensor: str
    to: str

    def __str__(self) -> str:
        return f"rename {self.tensor} -> {self.to}"


@record
class Duplicate:
    """A stored tensor is stored once more under another name."""

    shard: str
    tensor: str
    to: str

    def __str__(self) -> str:
        return f"copy {self.tensor} -> {self.to}"


@record
class Reshape:
    """A stored tensor gets another shape of as many elements."""

    shard: str
    tensor: str
    before: tuple[int, ...]
    to: tuple[int, ...]

    def __str__(self) -> str:
        return f"reshape {self.tensor} {list(self.before)} -> {list(self.to)}"


@record
class Drop:
    """A stored tensor goes."""

    shard: str
    tensor: str

    def __str__(self) -> str:
        return f"drop {self.tensor}"


@record
class Move:
    """A stored tensor goes to the end of another shard."""

    shard: str
    tensor: str
    to: str

    def __str__(self) -> str:
        return f"move {self.tensor} from {self.shard} to {self.to}"


@record
class TakeValue:
    """A scale gets the bytes of another one of its dtype and shape."""

    shard: str
    tensor: str
    donor: str

    def __str__(self) -> str:
        return f"set {self.tensor} to the value of {self.donor}"


@record
class Compute:
    """A stored tensor becomes what an operation makes of it, and of other stored tensors by name."""

    shard: str
    tensor: str
    operation: str
    parameters: Mapping[str, Any]
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"{key} {value}" for key, value in self.parameters.items()]
        return f"{self.operation} {', '.join([self.tensor, *self.others, *words])}"


@record
class SetMetadata:
    """A word of a shard's ``__metadata__``."""

    shard: str
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.shard}: metadata {self.key} = {self.value}"


@record
class SetKey:
    """A value of config.json, or of another JSON file; objects on the way are made where they are missing."""

    path: Path
    value: Any
    file: str = CONFIG_FILE

    def __str__(self) -> str:
        return f"{self.file}: {json_path(self.path)} = {_brief(self.value)}"


@record
class RemoveKey:
    """A key of config.json, or of another JSON file, goes."""

    path: Path
    file: str = CONFIG_FILE

    def __str__(self) -> str:
        return f"{self.file}: remove {json_path(self.path)}"


@record
class RenameKey:
    """A key of config.json, or of another JSON file, gets another name, in its place."""

    path: Path
    to: str
    file: str = CONFIG_FILE

    def __str__(self) -> str:
        return f"{self.file}: {json_path(self.path)} becomes {json_path((*self.path[:-1], self.to))}"


@record
class AddItem:
    """A list in config.json, or in another JSON file, gets an entry that it does not have yet; the list is made where
    it is missing."""

    path: Path
    item: str
    file: str = CONFIG_FILE

    def __str__(self) -> str:
        return f"{self.file}: {json_path(self.path)} += {_brief(self.item)}"


@record
class RemoveItem:
    """An entry of a list in config.json, or in another JSON file, goes."""

    path: Path
    item: str
    file: str = CONFIG_FILE

    def __str__(self) -> str:
        return f"{self.file}: {json_path(self.path)} -= {_brief(self.item)}"


@record
class RebuildIndex:
    """The index is written anew from the headers; without ``places``, only its sums are."""

    places: bool = True

    def __str__(self) -> str:
        return "index: every tensor where it is stored" if self.places else "index: total_size"


TensorEdit: TypeAlias = Rename | Duplicate | Reshape | Drop | Move | TakeValue | Compute
ConfigEdit: TypeAlias = SetKey | RemoveKey | RenameKey | AddItem | RemoveItem
Edit: TypeAlias = TensorEdit | ConfigEdit | SetMetadata | RebuildIndex


#: For isinstance: the edits of a JSON file.
CONFIG_EDITS = (SetKey, RemoveKey, RenameKey, AddItem, RemoveItem)
#: For isinstance: the edits of one stored tensor.
TENSOR_EDITS = (Rename, Duplicate, Reshape, Drop, Move, TakeValue, Compute)
#: The edits after which bytes are nowhere any more: a tensor that goes, a value that is overwritten or made anew.
LOSING_EDITS = (Drop, TakeValue, Compute)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."
