"""The committed tables: what is chosen for which device and shape, and that every entry can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptkit.kernels import configs
from ckptkit.kernels.configs import ACCUMULATE, TABLES, Accumulate, Config, Problem, fallback, select, tables

HOPPER = ("sm_90", "NVIDIA H200")
SHAPES = [(6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (57344, 8192), (80, 272)]


@pytest.mark.parametrize("depends_on_k", [False, True])
@pytest.mark.parametrize("accumulate", ACCUMULATE)
@pytest.mark.parametrize("device", [HOPPER, ("sm_89", "NVIDIA L4"), ("gfx942:sramecc+", "AMD Instinct MI300X"), ()])
def test_every_device_has_a_config_for_every_problem(
    device: tuple[str, ...], accumulate: Accumulate, depends_on_k: bool
) -> None:
    for n, k in SHAPES:
        for m in (1, 16, 17, 64, 65, 128, 256, 512, 1024, 8192):
            config = select(device or ("",), Problem(m, n, k, accumulate, depends_on_k))
            assert config.split_k >= 1
            assert (config.kernel == "portable") == (device != HOPPER)
            if accumulate == "promoted" or depends_on_k:
                assert config.block_k <= 128


def test_few_tokens_split_k_until_the_chip_is_full() -> None:
    def chosen(m: int, n: int, k: int) -> Config:
        return select(HOPPER, Problem(m, n, k, "fast", False))

    assert chosen(16, 4096, 4096).split_k == 4  # 64 tiles of weights on 132 multiprocessors
    assert chosen(16, 28672, 4096).split_k == 1  # 448 tiles
    assert chosen(64, 4096, 4096).split_k == 2  # partial sums stay below a quarter of the weights
    assert chosen(16, 64, 256).split_k == 1  # K is one step
    assert chosen(4096, 4096, 4096) == Config("persistent", 128, 256, 128, 8, 4, subtile=True)


def test_the_portable_config_runs_anything() -> None:
    assert fallback(Problem(5, 7, 11, "promoted", True)).kernel == "portable"


def test_tables_are_ordered_by_how_much_they_say() -> None:
    assert [table.name for table in tables()] == ["nvidia_h200", "sm_90", "portable"]
    assert all(table.status for table in tables())


def test_tuned_entries_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in TABLES.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    tuned = Config("persistent", 64, 256, 128, 4, 3)
    entry = {"accumulate": ["fast"], "depends_on_k": False, "only": [4096, 4096], "max_m": 256, "measured_us": 1.0}
    document = {"devices": ["NVIDIA H200"], "status": "", "tuned": [{**entry, "config": tuned.to_json()}]}
    (tmp_path / "nvidia_h200.json").write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setattr(configs, "TABLES", tmp_path)
    tables.cache_clear()
    try:
        assert select(HOPPER, Problem(200, 4096, 4096, "fast", False)) == tuned
        assert select(HOPPER, Problem(200, 4096, 4096, "promoted", False)) != tuned
        assert select(HOPPER, Problem(300, 4096, 4096, "fast", False)) != tuned
        assert select(("sm_90", "NVIDIA H100"), Problem(200, 4096, 4096, "fast", False)) != tuned
    finally:
        tables.cache_clear()


def test_configs_survive_json() -> None:
    for table in tables():
        for config, _, _ in table.variants():
            assert Config.from_json(config.to_json()) == config


def test_a_problem_that_no_table_admits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "tables", lambda: ())
    with pytest.raises(LookupError, match="no table"):
        select(HOPPER, Problem(1, 1, 1, "fast", False))
