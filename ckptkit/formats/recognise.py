"""What a container is that has no reader: by its config, by files beside it, or by the names of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ckptkit.errors import CkptkitError, excerpt
from ckptkit.formats import config_block, known
from ckptkit.formats.known import FolderKind, Method
from ckptkit.record import record
from ckptkit.storage.container import Container
from ckptkit.storage.index import parse_json_object
from ckptkit.storage.source import Source
from ckptkit.storage.untrusted import MOST_SIDE_BYTES

#: The key of config.json under which MLX describes its quantization.
_MLX_KEY = "quantization"


@record
class Recognised:
    """A folder's kind, what the file that tells it holds, and the method of quantization with its config.

    ``declared``: whether a config names the method, and not only the tensors' names.
    """

    folder: FolderKind | None = None
    document: Mapping[str, Any] = field(default_factory=dict)
    method: Method | None = None
    block: Mapping[str, Any] = field(default_factory=dict)
    declared: bool = False

    @property
    def bits(self) -> int | None:
        """The width of an element that is packed."""
        return self.method.bits(self.block) if self.method is not None else None

    @property
    def what(self) -> str | None:
        """The kind of folder in words."""
        return self.folder.words(self.document) if self.folder is not None else None

    @property
    def quantization(self) -> str | None:
        """The method in words; None where none is known."""
        if self.method is None:
            return self._of_folder
        words = self.method.in_words(self.block)
        return words if self.declared else f"{words}, by its tensors' names: no config declares it"

    @property
    def _of_folder(self) -> str | None:
        key = self.folder.quantization if self.folder is not None else None
        declared = self.document.get(key) if key is not None else None
        if self.folder is None or not isinstance(declared, Mapping) or not declared:
            return None
        said = ", ".join(f"{name} {value}" for name, value in declared.items() if isinstance(value, (str, int)))
        return f"{excerpt(said)[1:-1]} ({self.folder.file})"


def recognise(container: Container) -> Recognised:
    """What a container is, whatever reads it."""
    folder, document = _folder(container)
    located = config_block.locate(container.config)
    method, block, declared = None, located.block if located else {}, located is not None
    if located is not None:
        method = known.METHODS.get(config_block.quant_method(located.block))
        if method is None and not config_block.quant_method(located.block) and _is_mlx(located.block):
            method = known.MLX
    else:
        mlx = container.config.get(_MLX_KEY)
        if isinstance(mlx, dict) and _is_mlx(mlx):
            method, block, declared = known.MLX, mlx, True
        else:
            method = known.undeclared(frozenset([name.rpartition(".")[2] for name in container.tensors]))
    return Recognised(folder, document, method, block, declared and method is not None)


def _is_mlx(block: Mapping[str, Any]) -> bool:
    return all(type(block.get(key)) is int for key in ("bits", "group_size"))


def _folder(container: Container) -> tuple[FolderKind | None, Mapping[str, Any]]:
    shards = [header.shard for header in container.headers]
    return folder_kind(container.source, shards)


def folder_kind(source: Source, shards: list[str]) -> tuple[FolderKind | None, Mapping[str, Any]]:
    """The kind of a folder with these shards, and what the file that tells it holds."""
    sizes = {entry.name: entry.size for entry in source.files()}
    for kind in known.FOLDERS:
        told = bool(shards) or not kind.by_shards
        if told and kind.file in sizes and all(shard.startswith(kind.shards) for shard in shards):
            return kind, _document(source, kind.file, sizes[kind.file])
    return None, {}


def _document(source: Source, name: str, size: int) -> Mapping[str, Any]:
    """A JSON file of the folder; empty where it is none that can be read."""
    if size > MOST_SIDE_BYTES:
        return {}
    try:
        return parse_json_object(name, source.read(name))[0] or {}
    except CkptkitError:
        return {}
