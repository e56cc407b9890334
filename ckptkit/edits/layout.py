"""From output tensors to files: the order of data, the index, the text of config.json; for conversions and fixes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ckptkit.dtypes import BITS
from ckptkit.storage.index import Index, build_index
from ckptkit.storage.output import SLICE, OutputShard, OutputTensor

#: Dtype -> the bytes of an element, on a multiple of which a tensor has to start.
_WIDTHS = {code: max(1, bits // 8) for code, bits in BITS.items()}


def lay_out(file: str, tensors: Iterable[OutputTensor], metadata: dict[str, str] | None) -> OutputShard:
    """A shard whose data has the order of the source's, as far as its elements then lie on their boundaries."""
    return OutputShard(file, tuple(_aligned(sorted(tensors, key=place))), metadata)


def place(tensor: OutputTensor) -> tuple[str, int, int, bool, str]:
    """The order of data: as it was, with what came from other shards in the order of theirs."""
    if not tensor.inputs:
        return ("", 0, 0, False, tensor.name)
    source = tensor.inputs[0]
    start = source.start if tensor.operation != SLICE else source.start + tensor.parameters["first"]
    return (source.shard, start, source.nbytes, tensor.operation == "duplicate", tensor.name)


def _aligned(tensors: list[OutputTensor]) -> list[OutputTensor]:
    """The tensors in an order in which each starts on a multiple of its element size, the present one if it will do.

    Where a dropped or added tensor has shifted wide elements off their boundary, the widest go first, as the official
    writer puts them.
    """
    offset = 0
    for tensor in tensors:
        if offset % _WIDTHS[tensor.dtype]:
            return sorted(tensors, key=lambda item: -BITS[item.dtype])
        offset += tensor.nbytes
    return tensors


def index_text(index: Index | None, shards: Iterable[OutputShard]) -> bytes:
    """The index that says where every tensor of these shards is, with what the old one said besides."""
    found = tuple(shards)
    placed = [(tensor.name, shard.file) for shard in found for tensor in shard.tensors]
    total = sum(shard.data_bytes for shard in found)
    return build_index(placed, total, index.metadata if index else {}, index.extra if index else {})


def config_text(config: Mapping[str, Any], like: str | None = None) -> str:
    """config.json as text, indented as ``like`` is, so that only what changes differs; by two spaces without it."""
    if like is None:
        return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    indentation = re.search(r"^[{\[]\s*\n([ \t]+)", like)
    ending = "\n" if like.endswith("\n") or not like else ""
    indent = indentation[1] if indentation else None if like.startswith('{"') else "  "
    return json.dumps(config, indent=indent, ensure_ascii=like.isascii() and "\\u" in like) + ending
