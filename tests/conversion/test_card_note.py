"""A model card is copied along; a plan says when it describes the source only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ckptkit
from ckptkit.card.facts import is_outdated, section

MODEL = Path(__file__).resolve().parents[2] / "fixtures" / "real" / "llama" / "quark-ptpc"
#: Stands for what ``ckptkit card`` writes.
OWN_SECTION = "{section}"


@pytest.mark.parametrize(
    ("card", "noted"),
    [
        (None, False),
        ("# model\n", False),
        ("---\ntags: [fp8, llama]\n---\n# model\n", False),
        ("---\ntags: [fp8, quark]\n---\n# model\n", True),
        (OWN_SECTION, True),
    ],
    ids=["none", "prose", "true tags", "tag of the source", "section of the source"],
)
def test_a_card_that_describes_the_source_is_noted(tmp_path: Path, card: str | None, noted: bool) -> None:
    folder = Path(shutil.copytree(MODEL, tmp_path / "model"))
    if card is not None:
        (folder / "README.md").write_text(card.replace(OWN_SECTION, section(ckptkit.open(folder), "org/model")))
    notes = [note for note in ckptkit.plan(folder, to="ct").notes if "README.md still describes the source" in note]
    assert bool(notes) == noted
    assert all("'ckptkit card' on the result" in note for note in notes)


def test_another_format_is_told_without_a_summary_and_the_same_one_by_every_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A plan is not to wait for what only a card says."""
    source = ckptkit.open(MODEL)
    card = section(source, "org/model")
    assert not is_outdated(source, card)
    assert is_outdated(source, card.replace("in 16 bits", "in 32 bits"))
    assert not is_outdated(source, card.replace("| Size |", "| Weight |"))
    monkeypatch.setattr("ckptkit.card.facts.summarise", None)
    kept = [line for line in card.splitlines() if not line.startswith(("| Scheme", "| Weight", "| Not", "| Made"))]
    assert is_outdated(ckptkit.open(MODEL.parent / "llmcompressor-dynamic"), "\n".join(kept))


def test_the_command_that_is_named_corrects_the_card(tmp_path: Path) -> None:
    from ckptkit.card.section import make, write

    folder, out = Path(shutil.copytree(MODEL, tmp_path / "model")), tmp_path / "out"
    write(make(ckptkit.open(folder), folder, name="org/model"))
    ckptkit.convert(folder, out, to="ct", fsync=False)
    assert {finding.code for finding in ckptkit.validate(out).findings} >= {"CK630"}
    write(make(ckptkit.open(out), out))
    assert "CK630" not in {finding.code for finding in ckptkit.validate(out).findings}
    assert "vllm serve org/model" in (out / "README.md").read_text()
