"""Bounds of what the largest checkpoints may cost, in bytes that are read and in memory: no clock is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale

#: Address space that is enough. Python with what a command imports takes a tenth of it.
ENOUGH = 1 << 30
#: Bytes of Python's own modules that a command reads, at most.
MODULES = 24_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.mark.parametrize("what", list(scale.COMMANDS))
def test_a_shard_of_200_gb_costs_its_header_and_its_scales(what: str, folder: Path, tmp_path: Path) -> None:
    try:
        built = scale.sparse(tmp_path / "sparse")
    except OSError:
        pytest.skip("no file can be that large here")
    cost = scale.measured(scale.COMMANDS[what], built, limit=ENOUGH)
    assert cost.read < MODULES + 100 * (2 << 14) * 2  # the scales of 100 weights, twice at most


@pytest.fixture(scope="module")
def many(folder: Path) -> Path:
    return scale.shards(folder / "shards", 1_000)


@pytest.mark.parametrize("what", ["validate", "plan a conversion"])
def test_shards_cost_their_headers(what: str, many: Path) -> None:
    """A tenth of the 10,000 that the benchmark has, for the suite's sake; the bound grows with their number."""
    cost = scale.measured(scale.COMMANDS[what], many, limit=ENOUGH)
    headers = sum(path.stat().st_size for path in many.iterdir())
    assert cost.read < MODULES + 3 * headers


def test_many_tensors_cost_what_their_header_takes(folder: Path) -> None:
    """A twentieth of the million that the benchmark has: memory of some 1 KB for each, and the header is read once."""
    built = scale.million(folder / "million", 50_000)
    header = (built / "model.safetensors").stat().st_size
    # Address space, since the peak memory of a process that starts another one counts as the other's too.
    cost = scale.measured(scale.COMMANDS["inspect"], built, limit=(80 << 20) + 50_000 * 1_500)
    assert cost.read < MODULES + 2 * header
