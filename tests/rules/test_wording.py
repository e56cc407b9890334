"""Messages that count: one layer is not several."""

from __future__ import annotations

from pathlib import Path

from ckptkit import api
from tests.fixes.workbench import Bench


def message(bench: Bench, folder: Path, code: str) -> str:
    """The first message of a rule."""
    return next(finding.message for finding in api.validate(bench.write(folder)).findings if finding.code == code)


def test_one_is_not_several(tmp_path: Path) -> None:
    bench = Bench("llama/llmcompressor-fp8")
    assert message(bench, tmp_path / "two", "CK704").endswith("in 2 layers")
    bench.drop(r"model\.layers\.1\..*")
    assert message(bench, tmp_path / "one", "CK704").endswith("in 1 layer")
    ragged = Bench("llama-block-ragged/llmcompressor-block")
    assert message(ragged, tmp_path / "ragged", "CK801").endswith("in 1 module")
