"""Computing payloads: stripe by stripe, whatever their size, and any byte range of them alone."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.dtypes import BITS
from ckptkit.errors import ContainerError
from ckptkit.operations.operation import Operation, OperationError, Piece
from ckptkit.operations.table import operation
from ckptkit.storage.payload import Computed, Data, TensorRef, size_of
from ckptkit.storage.source import Source

#: Bytes of output that are made at a time, where an operation streams.
STRIPE = 1 << 20


def stream(payload: Computed, source: Source, begin: int, end: int) -> Iterator[Data]:
    """The bytes ``begin`` to ``end`` of a computed payload, in order, a stripe at a time.

    Raises ContainerError when an operation makes another number of bytes than it promised.
    """
    if end <= begin:
        return
    entry = operation(payload.operation)
    promised = entry.promise(payload.inputs, payload.parameters).shape
    payload = _flat(payload) if promised is None else payload._replace(shape=promised)
    row = _row_bytes(payload.dtype, payload.shape) if entry.streams else None
    if row is None:
        yield _stripe(entry, payload, source, range(payload.shape[0] if payload.shape else 1), whole=True)[begin:end]
        return
    step = entry.step(payload.inputs, payload.parameters)
    height = max(step, STRIPE // row // step * step)
    first = begin // row // step * step
    for start in range(first, -(-end // row), height):
        rows = range(start, min(start + height, payload.shape[0]))
        data = _stripe(entry, payload, source, rows, whole=False)
        offset = start * row
        yield data[max(0, begin - offset) : end - offset]


def _flat(payload: Computed) -> Computed:
    """The same payload with all tensors as rows of one element: values stay in their order, whatever the shapes."""
    inputs = tuple(tensor._replace(shape=(tensor.numel,)) for tensor in payload.inputs)
    return payload._replace(inputs=inputs, shape=inputs[0].shape)


def _stripe(entry: Operation, payload: Computed, source: Source, rows: range, *, whole: bool) -> Data:
    if entry.compute is None:
        raise ContainerError(f"the operation {entry.name!r} computes nothing")
    if whole:
        wanted = tuple(range(tensor.shape[0] if tensor.shape else 1) for tensor in payload.inputs)
    else:
        wanted = entry.rows_needed(payload.inputs, payload.parameters, rows)
    pieces = tuple(piece_of(source, tensor, own) for tensor, own in zip(payload.inputs, wanted, strict=True))
    try:
        data = entry.compute(pieces, payload.parameters, rows)
    except OperationError as error:
        first = payload.inputs[0]
        where = f"rows {rows.start} to {rows.stop} of {first.name} in {first.shard}"
        raise ContainerError(f"{entry.name} cannot make {where}: {error}") from error
    promised = payload.nbytes if whole else size_of(payload.dtype, (len(rows), *payload.shape[1:]))
    if len(data) != promised:
        raise ContainerError(f"{entry.name} made {len(data)} bytes where {promised} were promised")
    return data


def piece_of(source: Source, tensor: TensorRef, rows: range) -> Piece:
    """Some rows of an input, or all of it where it has none that can be told apart."""
    row = _row_bytes(tensor.dtype, tensor.shape)
    if row is None:
        return Piece(tensor.dtype, tensor.shape, source.read(tensor.shard, tensor.start, tensor.nbytes), 0)
    data = source.read(tensor.shard, tensor.start + rows.start * row, len(rows) * row)
    return Piece(tensor.dtype, (len(rows), *tensor.shape[1:]), data, rows.start)


def _row_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """The bytes of a row; None where there are no rows, or where they do not end between bytes."""
    if not shape or 0 in shape:
        return None
    bits = BITS[dtype]
    for extent in shape[1:]:
        bits *= extent
    return bits // 8 if bits % 8 == 0 else None
