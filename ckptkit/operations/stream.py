"""Computing payloads: stripe by stripe, whatever their size, and any byte range of them alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from ckptkit.dtypes import BITS
from ckptkit.errors import ContainerError
from ckptkit.operations.operation import Operation, OperationError, Piece
from ckptkit.operations.table import operation
from ckptkit.storage.payload import Computed, Data, TensorRef, size_of
from ckptkit.storage.source import Source

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Bytes that are made or read at a time, where an operation streams.
STRIPE = 1 << 22
#: Stripes that are under way beside the one that is used, where an executor makes them.
AHEAD = 2


class _Beside:
    """Small results that came of a pass over a source, until they are asked for: by source, then by what they are."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[Source, dict[str, bytes]] = WeakKeyDictionary()
        self._lock = Lock()

    def put(self, source: Source, payload: Computed, data: bytes) -> None:
        with self._lock:
            self._found.setdefault(source, {})[_key(payload)] = data

    def take(self, source: Source, payload: Computed) -> bytes | None:
        with self._lock:
            return self._found.get(source, {}).pop(_key(payload), None)


def _key(payload: Computed) -> str:
    return repr((payload.operation, payload.inputs, sorted(payload.parameters.items())))


_BESIDE = _Beside()


def stream(payload: Computed, source: Source, begin: int, end: int, *, ahead: Executor | None = None) -> Iterator[Data]:
    """The bytes ``begin`` to ``end`` of a computed payload, in order, a stripe at a time.

    With ``ahead``, an executor of threads, a few stripes are made while others are used. What a pass gives besides is
    kept until it is asked for, once. Raises ContainerError when an operation makes another number of bytes than it
    promised.
    """
    if end <= begin:
        return
    known = _BESIDE.take(source, payload)
    if known is not None:
        yield known[begin:end]
        return
    entry = operation(payload.operation)
    promised = entry.promise(payload.inputs, payload.parameters).shape
    payload = _flat(payload) if promised is None else payload._replace(shape=promised)
    first = entry.first(payload.inputs, payload.parameters)
    before = [] if first is None else [_whole(first, source)]
    row = _row_bytes(payload.dtype, payload.shape) if entry.streams else None
    if row is None:
        rows = range(payload.shape[0] if payload.shape else 1)
        yield _stripe(entry, payload, source, rows, before, whole=True)[0][begin:end]
        return
    step = entry.step(payload.inputs, payload.parameters)
    height = max(step, STRIPE * step // _step_bytes(entry, payload, row, step) // step * step)
    lowest = begin // row // step * step
    besides = []

    def made(start: int) -> tuple[Data, bytes]:
        rows = range(start, min(start + height, payload.shape[0]))
        return _stripe(entry, payload, source, rows, before, whole=False)

    starts = range(lowest, -(-end // row), height)
    stripes = map(made, starts) if ahead is None or len(starts) == 1 else in_order(ahead, made, starts, AHEAD)
    for start, (data, beside) in zip(starts, stripes, strict=True):
        besides.append(beside)
        offset = start * row
        yield data[max(0, begin - offset) : end - offset]
    if entry.beside is not None and (begin, end) == (0, payload.nbytes):
        data = before[0].data if before else b"".join(besides)
        _BESIDE.put(source, payload._replace(operation=entry.beside), data)


def in_order(pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """The results in order, with so many items under way at a time: a model may have a million stripes."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _step_bytes(entry: Operation, payload: Computed, row: int, step: int) -> int:
    """The bytes of one step of rows: of the output, or of the widest input where that is more."""
    rows = range(min(step, payload.shape[0]))
    needed = entry.rows_needed(payload.inputs, payload.parameters, rows)
    inputs = (len(own) * (_row_bytes(t.dtype, t.shape) or 0) for t, own in zip(payload.inputs, needed, strict=True))
    return max(row * step, *inputs)


def _whole(payload: Computed, source: Source) -> Piece:
    """A small payload, made."""
    data = b"".join(stream(payload, source, 0, payload.nbytes))
    return Piece(payload.dtype, payload.shape, data, 0)


def _flat(payload: Computed) -> Computed:
    """The same payload with all tensors as rows of one element: values stay in their order, whatever the shapes."""
    inputs = tuple(tensor._replace(shape=(tensor.numel,)) for tensor in payload.inputs)
    return payload._replace(inputs=inputs, shape=inputs[0].shape)


def _stripe(
    entry: Operation, payload: Computed, source: Source, rows: range, before: list[Piece], *, whole: bool
) -> tuple[Data, bytes]:
    """Some rows, and what comes beside them."""
    compute, both = entry.compute, entry.compute_beside
    if compute is None and both is None:
        raise ContainerError(f"the operation {entry.name!r} computes nothing")
    if whole:
        wanted = tuple(range(tensor.shape[0] if tensor.shape else 1) for tensor in payload.inputs)
    else:
        wanted = entry.rows_needed(payload.inputs, payload.parameters, rows)
    pieces = tuple(piece_of(source, tensor, own) for tensor, own in zip(payload.inputs, wanted, strict=True))
    pieces = (*pieces, *before)
    data: Data = b""
    beside = b""
    try:
        if both is not None:
            data, beside = both(pieces, payload.parameters, rows)
        elif compute is not None:
            data = compute(pieces, payload.parameters, rows)
    except OperationError as error:
        first = payload.inputs[0]
        where = f"rows {rows.start} to {rows.stop} of {first.name} in {first.shard}"
        raise ContainerError(f"{entry.name} cannot make {where}: {error}") from error
    promised = payload.nbytes if whole else size_of(payload.dtype, (len(rows), *payload.shape[1:]))
    if len(data) != promised:
        raise ContainerError(f"{entry.name} made {len(data)} bytes where {promised} were promised")
    return data, beside


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
