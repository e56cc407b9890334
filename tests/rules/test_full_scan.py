"""The blocked scan against a plain reading of every byte, with pieces of every awkward size."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptkit import api
from ckptkit.checks import full_scan
from ckptkit.checks.full_scan import WeightScan, scan_weights
from ckptkit.formats.reading import open_checkpoint
from ckptkit.model.checkpoint import QuantizedModule
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.storage.container import open_container
from tests.damage import BLOCK, CT, SHARD, load
from tests.raw import MemorySource, RawTensor, shard_bytes, write_files

_GRANULARITIES: tuple[Granularity, ...] = (PerTensor(), PerChannel(), PerBlock(3, 4), PerBlock(128, 128))


def plain(weight: bytes, shape: tuple[int, int], granularity: Granularity, scales: list[float]) -> tuple[object, ...]:
    """The same facts, one byte after the other: NaNs, units, zero units, slack units, the largest magnitude."""
    columns = shape[1]
    units: dict[tuple[int, ...], int] = {}
    for index, code in enumerate(weight):
        row, column = divmod(index, columns)
        if isinstance(granularity, PerTensor):
            unit: tuple[int, ...] = ()
        elif isinstance(granularity, PerChannel):
            unit = (row,)
        else:
            assert isinstance(granularity, PerBlock)
            unit = (row // granularity.rows, column // granularity.columns)
        units[unit] = max(units.get(unit, 0), code & 0x7F)
    ordered = [units[key] for key in sorted(units)]
    magnitudes = [_decoded(min(code, 0x7E)) for code in ordered]
    slack = sum(0 < magnitude < full_scan.SLACK_BELOW for magnitude in magnitudes)
    absmax = max(magnitude * scale for magnitude, scale in zip(magnitudes, scales, strict=True))
    return sum(code & 0x7F == 0x7F for code in weight), len(ordered), ordered.count(0), slack, absmax


def _decoded(code: int) -> float:
    exponent, mantissa = code >> 3, code & 7
    return math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)


def scan_one(weight: bytes, shape: tuple[int, int], granularity: Granularity, folder: Path | None) -> WeightScan:
    scale_shape = granularity.scale_shape(shape)
    count = math.prod(scale_shape)
    scales = numpy.arange(1, count + 1, dtype="<f4")
    tensors = {"m.weight_scale": RawTensor("F32", scale_shape, scales.tobytes())}
    tensors["m.weight"] = RawTensor("F8_E4M3", shape, weight)
    files = {SHARD: shard_bytes(tensors), "config.json": b"{}"}
    container = open_container(MemorySource(files)) if folder is None else api.open_files(write_files(folder, files))
    scheme = Scheme(Quantization(granularity), None)
    module = QuantizedModule("m", scheme, container.tensors["m.weight"], container.tensors["m.weight_scale"])
    return scan_weights(container, [module], workers=1)["m.weight"]


def _facts(scan: WeightScan) -> tuple[object, ...]:
    return scan.nans, scan.units, scan.zero_units, scan.slack_units, scan.absmax


@given(st.data())
def test_the_same_as_byte_by_byte(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 20))
    granularity = data.draw(st.sampled_from(_GRANULARITIES))
    codes = st.sampled_from([0, 0x80, 1, 0x38, 0x7E, 0xFE, 0x7F, 0xFF, 0x40])
    weight = bytes(data.draw(st.lists(codes, min_size=rows * columns, max_size=rows * columns)))
    chunk = data.draw(st.integers(1, 64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_scan, "CHUNK", chunk)
        scan = scan_one(weight, (rows, columns), granularity, None)
    count = math.prod(granularity.scale_shape((rows, columns)))
    assert _facts(scan) == plain(weight, (rows, columns), granularity, [float(n) for n in range(1, count + 1)])


@pytest.mark.parametrize("granularity", _GRANULARITIES, ids=str)
def test_local_and_remote_agree(tmp_path: Path, granularity: Granularity) -> None:
    shape = (300, 700)
    weight = numpy.random.default_rng(0).integers(0, 256, shape, dtype=numpy.uint8).tobytes()
    assert scan_one(weight, shape, granularity, None).absmax == scan_one(weight, shape, granularity, tmp_path).absmax


def test_a_signalling_nan_among_the_scales_is_scanned_without_a_warning() -> None:
    tensors = {"m.weight_scale": RawTensor("F32", (2, 1), struct.pack("<2I", 0x7F800001, 0x3F800000))}
    tensors["m.weight"] = RawTensor("F8_E4M3", (2, 4), bytes([0x38] * 8))
    container = open_container(MemorySource({SHARD: shard_bytes(tensors), "config.json": b"{}"}))
    scheme = Scheme(Quantization(PerChannel()), None)
    module = QuantizedModule("m", scheme, container.tensors["m.weight"], container.tensors["m.weight_scale"])
    assert math.isnan(scan_weights(container, [module], workers=1)["m.weight"].absmax)


def test_saturation_is_counted_in_a_sample(tmp_path: Path) -> None:
    shape = (64, 1024)
    weight = bytes([0x7E]) * (16 * 1024) + bytes([0x30]) * (48 * 1024)
    assert scan_one(weight, shape, PerTensor(), tmp_path).saturated_share == 0.25


@pytest.mark.parametrize("fixture", [CT, BLOCK])
def test_any_number_of_workers(fixture: str) -> None:
    container = open_container(MemorySource(load(fixture).to_files()))

    checkpoint = open_checkpoint(container).checkpoint
    one, many = (scan_weights(container, checkpoint.modules.values(), workers=count) for count in (1, 5))
    assert {name: _facts(scan) for name, scan in one.items()} == {name: _facts(scan) for name, scan in many.items()}


def test_a_truncated_shard_is_not_scanned_beyond_its_end() -> None:
    files = load(CT).to_files()
    files[SHARD] = files[SHARD][:-5000]
    container = open_container(MemorySource(files))

    checkpoint = open_checkpoint(container).checkpoint
    scans = scan_weights(container, checkpoint.modules.values())
    assert 0 < len(scans) < len(checkpoint.modules)


def test_progress_is_told_in_bytes() -> None:
    container = open_container(MemorySource(load(CT).to_files()))

    checkpoint = open_checkpoint(container).checkpoint
    seen: list[int] = []
    scan_weights(container, checkpoint.modules.values(), progress=seen.append)
    assert sum(seen) == sum(module.weight.nbytes for module in checkpoint.modules.values())
