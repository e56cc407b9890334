"""``ckptkit diff`` against a base: exit codes, tables, JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit.checks import schema
from tests.cli.conftest import REAL, Run
from tests.damage import BF16, CT, load
from tests.formats import others
from tests.raw import write_files


def test_a_base_and_its_quantization_differ_and_the_table_says_by_how_much(run: Run) -> None:
    outcome = run("diff", REAL / BF16, REAL / CT)
    assert (outcome.code, outcome.err) == (1, "")
    assert "differs model.layers.0.mlp.down_proj: scheme (and 13 like it)" in outcome.out
    assert "0.0264    31.6        0          0  model.layers.0.self_attn.o_proj at [42,70]" in outcome.out
    assert "in all 14 weights: error 0.0254, SNR 31.9 dB; 7 others are equal" in outcome.out
    assert "values, the" not in outcome.out and "dequantized weight" not in outcome.out


@pytest.mark.parametrize(
    ("options", "rows"), [((), 10), (("--limit", "3"), 3), (("--all",), 14), (("--limit", "0"), 0)]
)
def test_how_many_weights_are_shown(run: Run, options: tuple[str, ...], rows: int) -> None:
    outcome = run("diff", REAL / BF16, REAL / CT, *options)
    assert outcome.code == 1 and outcome.out.count("_proj at [") == rows
    assert (f"and {14 - rows} weights more" in outcome.out) == (rows < 14)


def test_json_holds_all_and_fits_its_schema(run: Run) -> None:
    document = run("diff", REAL / BF16, REAL / CT, "--json").json
    assert schema.faults("comparison", document, file="comparison") == []
    errors = document["errors"]
    assert (errors["base"], errors["equal"], len(errors["weights"]), len(errors["kinds"])) == ("left", 7, 14, 7)
    worst = errors["weights"][0]
    assert (worst["name"], worst["worst"]["place"]) == ("model.layers.0.self_attn.o_proj", [42, 70])
    assert errors["kinds"][0]["worst_weight"] == worst["name"] and "worst" not in errors["kinds"][0]
    same = run("diff", REAL / CT, REAL / CT, "--json")
    assert same.code == 0 and same.json["errors"] is None
    assert schema.faults("comparison", same.json, file="comparison") == []


@pytest.mark.parametrize("key", ["relative_error", "snr_db", "not_finite", "dead_rows", "clipped_share"])
def test_the_schema_wants_every_figure(run: Run, key: str) -> None:
    document = run("diff", REAL / BF16, REAL / CT, "--json").json
    del document["errors"]["weights"][3][key]
    assert schema.faults("comparison", document, file="comparison")


def test_below_the_full_level_it_says_how_to_measure(run: Run) -> None:
    outcome = run("diff", REAL / BF16, REAL / CT, "--level", "scales")
    assert outcome.code == 1 and "--level full says how far they are off" in outcome.out
    assert "error" not in outcome.out


def test_what_is_neither_fp8_nor_plain_is_refused(run: Run, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "gptq", others.METHODS["gptq"][0])
    for sides in ((REAL / BF16, folder), (folder, REAL / CT)):
        outcome = run("diff", *sides)
        assert outcome.code == 2 and "is not supported" in outcome.err and outcome.out == ""
    undeclared = load(CT)
    del undeclared.config["quantization_config"]
    outcome = run("diff", REAL / BF16, undeclared.write(tmp_path / "undeclared"))
    assert outcome.code == 2 and "restore the quantization_config" in outcome.err


def test_a_base_with_damaged_files_is_refused(run: Run, tmp_path: Path) -> None:
    checkpoint = load(BF16)
    folder = checkpoint.write(tmp_path / "short")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    outcome = run("diff", folder, REAL / CT)
    assert outcome.code == 2 and "damaged" in outcome.err
