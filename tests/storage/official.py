"""The official library as the oracle: what it reads, and what it says a file holds."""

from __future__ import annotations

import safetensors

from ckptkit.storage.container import read_headers
from ckptkit.storage.header import Header
from ckptkit.storage.source import FileEntry
from tests.raw import MemorySource, RawTensor

SHARD = "model.safetensors"


def official(data: bytes) -> dict[str, RawTensor] | None:
    """The tensors that the official library finds in a file, None if it refuses the file."""
    try:
        tensors = safetensors.deserialize(data)
    except safetensors.SafetensorError:
        return None
    return {name: RawTensor(info["dtype"], tuple(info["shape"]), bytes(info["data"])) for name, info in tensors}


def ours(data: bytes) -> Header:
    """The header that we read from the same bytes."""
    (header,) = read_headers(MemorySource({SHARD: data}), [FileEntry(SHARD, len(data))])
    return header


def contents(header: Header, data: bytes) -> dict[str, RawTensor]:
    """What a header says that a file holds, in the oracle's terms."""
    return {
        name: RawTensor(tensor.dtype, tensor.shape, data[tensor.start : tensor.stop])
        for name, tensor in header.tensors.items()
    }
