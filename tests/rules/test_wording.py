"""Messages that count: one layer is not several."""

from __future__ import annotations

from pathlib import Path

from ckptkit import api
from tests.damage import MutableCheckpoint, load


def message(checkpoint: MutableCheckpoint, folder: Path, code: str) -> str:
    """The first message of a rule."""
    return next(finding.message for finding in api.validate(checkpoint.write(folder)).findings if finding.code == code)


def test_one_is_not_several(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-fp8")
    assert message(checkpoint, tmp_path / "two", "CK704").endswith("in 2 layers")
    checkpoint.drop(r"model\.layers\.1\..*")
    assert message(checkpoint, tmp_path / "one", "CK704").endswith("in 1 layer")
    ragged = load("llama-block-ragged/llmcompressor-block")
    assert message(ragged, tmp_path / "ragged", "CK801").endswith("in 1 module")
