"""A planned folder reads like the folder that is written from the same plan."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.errors import ContainerError
from ckptkit.storage.output import CONSTANT, OutputFile, OutputShard, OutputTensor, VirtualContainer
from ckptkit.storage.payload import ByteRange, Computed, Inline, TensorRef
from ckptkit.storage.source import Source
from ckptkit.storage.virtual import VirtualSource
from ckptkit.storage.writer import write_container
from tests.raw import MemorySource

SOURCE = MemorySource({"source.bin": bytes(range(200))})


def invert(payload: Computed, source: Source, begin: int, end: int) -> Iterator[bytes]:
    """The only operation here: every byte of the input inverted, seven at a time."""
    (tensor,) = payload.inputs
    data = source.read(tensor.shard, tensor.start, tensor.nbytes)
    wanted = bytes(255 - byte for byte in data)[begin:end]
    yield from (wanted[start : start + 7] for start in range(0, len(wanted), 7))


@st.composite
def spans(draw: st.DrawFn) -> TensorRef:
    start = draw(st.integers(0, 199))
    nbytes = draw(st.integers(0, 200 - start))
    return TensorRef("stored", "U8", (nbytes,), "source.bin", start, nbytes)


@st.composite
def output_tensors(draw: st.DrawFn, name: str) -> OutputTensor:
    if draw(st.booleans()):
        data = draw(st.binary(max_size=9))
        return OutputTensor(name, "U8", (len(data),), CONSTANT, (), {"hex": data.hex()})
    span = draw(spans())
    return OutputTensor(name, "U8", span.shape, draw(st.sampled_from(["rename", "invert"])), (span,))


@st.composite
def side_files(draw: st.DrawFn) -> OutputFile:
    span = draw(spans())
    copied = ByteRange(span.shard, span.start, span.nbytes)
    return OutputFile("side", draw(st.sampled_from([copied, Inline(draw(st.binary(max_size=9)))])))


@st.composite
def virtual_containers(draw: st.DrawFn) -> VirtualContainer:
    tensors = tuple(draw(output_tensors(f"t{number}")) for number in range(draw(st.integers(0, 5))))
    return VirtualContainer((OutputShard("a.safetensors", tensors, None),), (draw(side_files()),))


@settings(max_examples=60)
@given(virtual_containers(), st.data())
def test_any_range_reads_as_it_will_be_written(container: VirtualContainer, data: st.DataObject) -> None:
    planned = VirtualSource(container, SOURCE, invert)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_container(container, SOURCE, folder, stream=invert, jobs=1, fsync=False)
        written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {entry.name: entry.size for entry in planned.files()} == {name: len(raw) for name, raw in written.items()}
    for file, raw in written.items():
        start = data.draw(st.integers(0, len(raw)))
        count = data.draw(st.integers(0, len(raw) - start))
        assert planned.read(file, start, count) == raw[start : start + count]
        assert planned.read(file) == raw
        origin = planned.origin(ByteRange(file, start, count)) if start < len(raw) else None
        assert origin is None or SOURCE.read(*origin) == raw[start : start + count]
        with pytest.raises(ContainerError):
            planned.read(file, 0, len(raw) + 1)


def test_what_is_copied_from_one_place_has_an_origin() -> None:
    first, second = (TensorRef("stored", "U8", (4,), "source.bin", start, 4) for start in (100, 60))
    shard = OutputShard(
        "a", tuple(OutputTensor(f"{t.start}", "U8", (4,), "rename", (t,)) for t in (first, second)), None
    )
    planned = VirtualSource(VirtualContainer((shard,), (OutputFile("side", Inline(b"1234")),)), SOURCE, invert)
    begin = len(shard.header)
    assert planned.origin(ByteRange("a", begin + 1, 3)) == ByteRange("source.bin", 101, 3)
    assert planned.origin(ByteRange("a", begin + 4, 4)) == ByteRange("source.bin", 60, 4)
    assert planned.origin(ByteRange("a", begin + 1, 4)) is None  # of two places
    assert planned.origin(ByteRange("a", begin - 1, 2)) is None
    assert planned.origin(ByteRange("side", 0, 4)) is None


def test_other_files_are_not_there() -> None:
    with pytest.raises(ContainerError):
        VirtualSource(VirtualContainer((), ()), SOURCE, invert).read("source.bin")
