"""From output tensors to files: the order of data, the index, the text of config.json; for conversions and fixes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate, repeat
from operator import attrgetter, mod
from typing import Any

from ckptkit.dtypes import BITS
from ckptkit.storage.index import Index, build_index
from ckptkit.storage.output import SLICE, OutputShard, OutputTensor

#: Dtype -> the bytes of an element, on a multiple of which a tensor has to start.
_WIDTHS = {code: max(1, bits // 8) for code, bits in BITS.items()}


def lay_out(file: str, tensors: Iterable[OutputTensor], metadata: dict[str, str] | None) -> OutputShard:
    """A shard whose data has the order of the source's, as far as its elements then lie on their boundaries."""
    ordered = sorted(tensors, key=place)
    shard = OutputShard(file, tuple(ordered), metadata)
    if _is_aligned(shard):
        return shard
    # A dropped or added tensor has shifted wide elements off their boundary: the widest go first, as the official
    # writer puts them.
    return OutputShard(file, tuple(sorted(ordered, key=lambda tensor: -BITS[tensor.dtype])), metadata)


def place(tensor: OutputTensor) -> tuple[str, int, int, bool, str]:
    """The order of data: as it was, with what came from other shards in the order of theirs."""
    name, _, _, what, inputs, parameters, _ = tensor
    if not inputs:
        return ("", 0, 0, False, name)
    _, _, _, shard, start, nbytes = inputs[0]
    return (shard, start if what != SLICE else start + parameters["first"], nbytes, what == "duplicate", name)


def _is_aligned(shard: OutputShard) -> bool:
    """Whether each tensor starts on a multiple of its element size."""
    widths = map(_WIDTHS.__getitem__, map(attrgetter("dtype"), shard.tensors))
    return not any(map(mod, accumulate(shard.sizes, initial=0), widths))


def index_text(index: Index | None, shards: Iterable[OutputShard]) -> bytes:
    """The index that says where every tensor of these shards is, with what the old one said besides."""
    found = tuple(shards)
    placed: dict[str, str] = {}
    for shard in found:
        placed.update(zip(map(attrgetter("name"), shard.tensors), repeat(shard.file)))
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
