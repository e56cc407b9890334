"""Whether a few numbers of weights tell codes from a model's own."""

from __future__ import annotations

import pytest

from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.checks.samples import hold_codes
from ckptkit.engines.registry import engines
from ckptkit.storage.container import open_container
from ckptkit.views.matrix import build_matrix
from tests.accuracy.corpus import corpus
from tests.raw import MemorySource, RawTensor, checkpoint_files

#: Number -> its bytes in each type.
_BYTES = {
    ("F8_E4M3", 448): b"\x7e",
    ("F8_E4M3", 0.5): b"\x30",
    ("F8_E4M3", 10): b"\x52",
    ("BF16", 448): b"\xe0\x43",
    ("BF16", 0.5): b"\x00\x3f",
    ("BF16", 10): b"\x20\x41",
    ("BF16", 449.0): b"\xe1\x43",
    ("F16", 448): b"\x00\x5f",
    ("F16", 0.5): b"\x00\x38",
    ("F16", 100.25): b"\x44\x56",
    ("F32", 448): b"\x00\x00\xe0\x43",
    ("F32", 448.00003): b"\x01\x00\xe0\x43",
    ("F32", 0.5): b"\x00\x00\x00\x3f",
}


@pytest.mark.parametrize(
    ("dtype", "largest", "told"),
    [
        ("F8_E4M3", 448, True),
        ("F8_E4M3", 0.5, False),
        ("F8_E4M3", 10, None),
        ("BF16", 448, True),
        ("BF16", 0.5, False),
        ("BF16", 10, None),
        ("BF16", 449.0, False),
        ("F16", 448, True),
        ("F16", 100.25, False),
        ("F32", 448, True),
        ("F32", 448.00003, False),
    ],
)
def test_the_largest_number_and_its_bits_tell(dtype: str, largest: float, told: bool | None) -> None:
    data = _BYTES[dtype, 0.5] * 15 + _BYTES[dtype, largest]
    files = checkpoint_files({"model.safetensors": {"w": RawTensor(dtype, (4, 4), data)}}, {})
    container = open_container(MemorySource(files))
    assert hold_codes(container, container.tensors.values()) is told


@pytest.mark.parametrize(("level", "verdict"), [(Level.HEADERS, "unknown"), (Level.SCALES, "loads")])
def test_headers_alone_do_not_tell(level: Level, verdict: str) -> None:
    context = runner.read_context(open_container(MemorySource(corpus()["reported/saved-as-fp8/all/olmo2"].make())))
    report = runner.run(context, level, engines=engines())
    (row,) = [row for row in build_matrix(context, report, loading_only=True).rows if row.engine == "vllm"]
    assert row.verdict == verdict
