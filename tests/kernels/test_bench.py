"""The benchmark's plumbing, with a host clock in the interpreter: no number of these is ever kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from benchmarks import gemm, gemm_report, gemm_tune
from benchmarks.gemm_results import Results
from ckptkit.errors import UsageError
from ckptkit.kernels import bench, scaled_mm
from ckptkit.kernels.configs import Accumulate, Config, Problem, select, use
from ckptkit.kernels.golden import session


def test_without_a_gpu_it_says_that_there_is_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    if gemm.newest() is not None:
        pytest.skip("figures are committed")
    assert gemm.main([]) == 0
    assert "No GPU figure exists yet" in capsys.readouterr().out
    assert gemm.main(["--docs"]) == 0
    assert "No GPU figure exists yet" in capsys.readouterr().out
    assert not (gemm.DOCS / "gemm.md").exists()


def test_a_rehearsal_walks_everything_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gemm, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gemm, "DOCS", tmp_path / "docs")
    assert gemm.main(["--rehearse"]) == 0
    out = capsys.readouterr().out
    assert "best of 2" in out and "kept nowhere" in out
    assert list(tmp_path.iterdir()) == []


def test_every_contender_runs_or_says_why_not() -> None:
    found = bench.measure((3, 32, 64), bench.HostClock(repetitions=2))
    ours = {timing.contender for timing in found.timings if timing.config}
    assert ours == {
        "ckptkit rowwise fast",
        "ckptkit rowwise promoted",
        "ckptkit tensor fast",
        "ckptkit tensor promoted",
        "ckptkit block",
        "plain triton rowwise",
    }
    assert len(found.timings) + len(found.failures) == 10
    document = found.to_json()
    assert document["clock"] == "host"
    assert set(document["contenders"]) == {timing.contender for timing in found.timings}
    assert bench.measure((3, 32, 64), bench.HostClock(), only=["ckptkit rowwise fast"]).best_torch is None


def result(m: int, ours: float, fast: float, slow: float) -> dict[str, object]:
    timings = [
        bench.Timing.of(name, [seconds], None)
        for name, seconds in (
            (gemm_report.OURS, ours),
            ("torch rowwise fast", fast),
            ("torch rowwise slow", slow),
            (gemm_report.PLAIN, 4e-5),
            (gemm_report.BLOCK, 2 * m * 4096 * 4096 / 1.1e15),
        )
    ]
    return bench.Measurement((m, 4096, 4096), "device events", 9, tuple(timings)).to_json()


def document() -> dict[str, object]:
    machine = {"gpu": "a GPU", "driver": "1", "cuda": "2", "torch": "3", "triton": "4"}
    rows = [result(16, 1e-5, 2e-5, 3e-5), result(4096, 2e-4, 1e-4, 4e-4)]
    rows.append({"shape": [1, 2, 3], "roofline_us": 1.0, "contenders": {}, "failures": {gemm_report.OURS: "no"}})
    ceilings = {"copy_bytes_s": 4e12, "fp8_flops": 1e15}
    return {"machine": machine, "date": "2000-01-01", "clock": "device events", "ceilings": ceilings, "rows": rows}


def test_the_table_compares_with_the_better_of_torch() -> None:
    text = gemm_report.markdown(document())
    assert "| 16 | 4096 | 4096 | 10.0 | 54 | 1.68 | 35% | 2.00 | 3.00 | 4.00 |" in text
    assert "decode (M <= 64): geometric mean 2.00x" in text
    assert "prefill (M >= 512): geometric mean 0.50x" in text
    assert "not run: no" in text
    assert "block scales (M >= 512): geometric mean 1100 TFLOP/s, 56% of the peak" in text
    assert "4.00 TB/s copying" in text


def test_every_gpu_has_a_table_of_its_own() -> None:
    assert gemm.table_of("NVIDIA H200").is_file()
    assert gemm.table_of("NVIDIA H100 80GB HBM3").name == "nvidia_h100_80gb_hbm3.json"


def test_the_plot_is_svg() -> None:
    from xml.etree import ElementTree

    assert ElementTree.fromstring(gemm_report.plot(document())).tag.endswith("svg")
    assert ElementTree.fromstring(gemm_report.plot({"rows": []})).tag.endswith("svg")


GOOD = Config("decode", 16, 64, 128, 4, 2, split_k=2)
OTHER = Config("decode", 16, 128, 128, 4, 2)


@pytest.fixture
def measured() -> Iterator[None]:
    """Leave the dispatcher with the committed tables."""
    yield
    use(None)


def sweep(
    path: Path, candidates: Sequence[Config] = (GOOD, Config("persistent", 64, 64, 128, 4, 2))
) -> gemm_tune.Sweep:
    table = gemm_tune.Table.open(path, path, "sm_90", len(candidates))
    return gemm_tune.Sweep(table, bench.HostClock(), candidates)


@pytest.mark.usefixtures("measured")
def test_tuning_writes_a_table_that_the_dispatcher_follows_at_once(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    sweep(path).tune((5, 32, 256))
    table = json.loads(path.read_text(encoding="utf-8"))
    assert table["devices"] == ["sm_90"]
    assert [entry["accumulate"] for entry in table["tuned"]] == [["fast"], ["promoted"]]
    assert all(Config.from_json(entry["config"]) == GOOD for entry in table["tuned"])
    assert all(entry["only"] == [32, 256] and entry["max_m"] == 5 for entry in table["tuned"])
    assert select(("sm_90",), Problem(4, 32, 256, "fast", False)) == GOOD
    use(None)
    assert select(("sm_90",), Problem(4, 32, 256, "fast", False)) != GOOD


@pytest.mark.usefixtures("measured")
def test_a_fast_but_wrong_candidate_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scaled_mm.run

    def broken(
        operands: scaled_mm.Operands, config: Config, accumulate: Accumulate, dtype: torch.dtype
    ) -> torch.Tensor:
        if config == OTHER:
            return torch.zeros(operands.sizes[:2], dtype=dtype)
        return run(operands, config, accumulate, dtype)

    monkeypatch.setattr(scaled_mm, "run", broken)
    path = tmp_path / "measured.json"
    sweep(path, [OTHER, GOOD]).tune((5, 32, 256))
    entries = json.loads(path.read_text(encoding="utf-8"))["tuned"]
    assert all(Config.from_json(entry["config"]) == GOOD for entry in entries)
    assert f"{OTHER.name} fast left out: token-channel-17x144x400: " in capsys.readouterr().out


@pytest.mark.usefixtures("measured")
def test_a_run_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = [(1, 64, 128), (40, 64, 128)]
    machine = session.find_machine()
    measured: list[tuple[int, int, int]] = []
    measure = bench.measure

    def counting(shape: tuple[int, int, int], clock: bench.Clock) -> bench.Measurement:
        measured.append(shape)
        return measure(shape, clock, only=["ckptkit rowwise fast", "ckptkit rowwise promoted"])

    monkeypatch.setattr(bench, "measure", counting)

    def run(enough: Callable[[], bool]) -> int:
        results = Results.open(tmp_path, tmp_path, machine, bench.HostClock())
        return gemm.walk(shapes, sweep(tmp_path / "measured.json"), results, enough)

    assert run(lambda: bool(measured)) == 1
    assert run(lambda: False) == 0
    assert run(lambda: False) == 0
    assert measured == shapes
    (path,) = tmp_path.glob("gemm-*.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert [row["shape"] for row in document["rows"]] == [list(shape) for shape in shapes]
    # A choice that has changed since makes a measurement stale.
    table = gemm_tune.Table.open(tmp_path / "measured.json", tmp_path, "sm_90", 2)
    table.add(shapes[0], "fast", OTHER, 1e-9)
    table.write()
    assert run(lambda: False) == 0
    assert measured == [*shapes, shapes[0]]


def test_candidates_fit_and_are_distinct() -> None:
    assert len(set(gemm_tune.CANDIDATES)) == len(gemm_tune.CANDIDATES) > 60


def test_shapes_and_rooflines() -> None:
    assert bench.parse_shape("1,2,3") == (1, 2, 3)
    with pytest.raises(UsageError):
        bench.parse_shape("1x2")
    m, n, k = 8192, 4096, 4096
    assert bench.roofline(m, n, k) == 2 * m * n * k / 1979e12
    assert bench.roofline(1, n, k) == pytest.approx(n * k / 4.8e12, rel=1e-2)
