"""A planned folder reads like the folder that is written from the same plan."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptkit.errors import ContainerError
from ckptkit.storage.payload import (
    ByteRange,
    Computed,
    Inline,
    OutputFile,
    OutputShard,
    OutputTensor,
    Payload,
    VirtualContainer,
)
from ckptkit.storage.virtual import VirtualSource
from ckptkit.storage.writer import write_container
from tests.raw import MemorySource

SOURCE = MemorySource({"source.bin": bytes(range(200))})


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    start = draw(st.integers(0, 199))
    span = ByteRange("source.bin", start, draw(st.integers(0, 200 - start)))
    if draw(st.booleans()):
        return span
    if draw(st.booleans()):
        return Inline(draw(st.binary(max_size=9)))
    return Computed((span,), span.nbytes, lambda inputs: bytes(255 - byte for byte in inputs[0]), "inverted")


@st.composite
def virtual_containers(draw: st.DrawFn) -> VirtualContainer:
    tensors = [
        OutputTensor(f"t{number}", "U8", (payload.nbytes,), payload)
        for number, payload in enumerate(draw(st.lists(payloads(), max_size=5)))
    ]
    side = draw(payloads().filter(lambda payload: not isinstance(payload, Computed)))
    assert not isinstance(side, Computed)
    return VirtualContainer((OutputShard("a.safetensors", tuple(tensors), None),), (OutputFile("side", side),))


@settings(max_examples=60)
@given(virtual_containers(), st.data())
def test_any_range_reads_as_it_will_be_written(container: VirtualContainer, data: st.DataObject) -> None:
    planned = VirtualSource(container, SOURCE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_container(container, SOURCE, folder, jobs=1, fsync=False)
        written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {entry.name: entry.size for entry in planned.files()} == {name: len(raw) for name, raw in written.items()}
    for file, raw in written.items():
        start = data.draw(st.integers(0, len(raw)))
        count = data.draw(st.integers(0, len(raw) - start))
        assert planned.read(file, start, count) == raw[start : start + count]
        assert planned.read(file) == raw
        with pytest.raises(ContainerError):
            planned.read(file, 0, len(raw) + 1)


def test_other_files_are_not_there() -> None:
    with pytest.raises(ContainerError):
        VirtualSource(VirtualContainer((), ()), SOURCE).read("source.bin")
