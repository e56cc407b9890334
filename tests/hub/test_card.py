"""Model cards: what is written, what stays, and claims that the tensors deny."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

import ckptkit
from ckptkit.card import section as module
from ckptkit.card.facts import END, START, facts, own_section
from ckptkit.card.section import contradictions, make, write
from ckptkit.engines.registry import by_name
from ckptkit.errors import CkptkitError, OutputError
from ckptkit.formats.registry import detect
from tests.hub.conftest import REAL, Run

LLAMA = REAL / "llama"


def folder_with(tmp_path: Path, fixture: str, card: str | None = None) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(REAL / fixture, folder)
    if card is not None:
        (folder / "README.md").write_bytes(card.encode())
    return folder


def card_of(folder: Path, **options: str) -> str:
    card = make(ckptkit.open(folder), folder, **options)  # type: ignore[arg-type]
    write(card)
    assert (folder / "README.md").read_bytes().decode() == card.after
    again = make(ckptkit.open(folder), folder)
    assert not again.changed, "a second run must change nothing"
    return card.after


#: Exports that hold no FP8 weights, and that ckptkit therefore does not open.
FOLDERS = {path.parent.relative_to(REAL).as_posix() for path in REAL.glob("*/*/config.json")}
UNREADABLE = {"llama/quark-fp8-fake", *(name for name in FOLDERS if name.endswith("/bf16"))}


@pytest.mark.parametrize("fixture", sorted(FOLDERS - UNREADABLE))
def test_every_export_has_a_card_that_it_does_not_contradict(fixture: str, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, fixture)
    checkpoint = ckptkit.open(folder)
    text = card_of(folder)
    assert contradictions(checkpoint, text) == []


@pytest.mark.parametrize(
    ("fixture", "rows"),
    [
        (
            "llama/quark-fp8-kv",
            {
                "Scheme": "W8A8 FP8, static per-tensor weights, static per-tensor activations",
                "Weight scales": "BF16 `[]`, one per weight",
                "KV cache": "FP8 KV cache, static per-tensor, scales stored for 2 attention modules",
                "Not quantized": "`lm_head`",
                "Format": "quark (native)",
            },
        ),
        (
            "llama/llmcompressor-dynamic",
            {
                "Scheme": "W8A8 FP8, static per-channel weights, dynamic per-token activations",
                "Weight scales": "BF16 `[N, 1]`, one per output row",
                "KV cache": "not quantized",
                "Made with": "compressed-tensors 0.19.0",
            },
        ),
        (
            "llama-block-ragged/llmcompressor-block",
            {"Weight scales": "BF16 `[ceil(N/128), ceil(K/128)]`, one per tile of 128 x 128"},
        ),
        (
            "llama-block-wide/modelopt-block",
            {"Weight scales": "F32 `[ceil(N/128), 1, ceil(K/128), 1]`, one per tile of 128 x 128"},
        ),
    ],
)
def test_facts(fixture: str, rows: dict[str, str]) -> None:
    found = facts(ckptkit.open(REAL / fixture))
    assert {key: found[key] for key in rows} == rows


def test_scales_of_stacks_are_told_with_their_experts(tmp_path: Path) -> None:
    ckptkit.convert(REAL / "qwen3_moe/transformers-block", tmp_path / "stacks", to="fp8", experts="stack", fsync=False)
    assert "F32 `[E, ceil(N/16), ceil(K/16)]`" in facts(ckptkit.open(tmp_path / "stacks"))["Weight scales"]


@pytest.mark.parametrize("fixture", sorted(FOLDERS - UNREADABLE))
def test_a_card_tells_to_serve_what_is_known_to_be_served(fixture: str, tmp_path: Path) -> None:
    """What an engine is not known to read or to have, or refuses, no card tells anybody to serve with it."""
    folder = folder_with(tmp_path, fixture)
    matrix = ckptkit.validate(folder, matrix=True).matrix
    dialect = detect(ckptkit.open(folder).container)
    assert matrix is not None and dialect is not None
    able = [
        row.label
        for row in matrix.rows
        if by_name(row.engine).launch is not None
        and by_name(row.engine).reader_of(dialect[1].key) is True
        and not {"refused", "silently wrong", "unknown"} & row.parts.keys()
    ]
    told = re.findall(r"^(?:Serve with (.*):|No engine is known to serve it\.)$", card_of(folder), re.MULTILINE)
    assert told == able[:1] or (told, able) == ([""], [])


def test_a_card_says_on_which_hardware_an_engine_refuses(tmp_path: Path) -> None:
    """Marlin serves compressed-tensors on Ampere, and nothing does Quark's format."""
    lines = {
        fixture: [line for line in card_of(folder_with(tmp_path / fixture, fixture)).splitlines() if "sm_80" in line]
        for fixture in ("llama/llmcompressor-dynamic", "llama/quark-ptpc")
    }
    assert [line.partition(",")[0] for line in lines["llama/llmcompressor-dynamic"]] == ["- Marlin"]
    assert [line.partition(" (`")[0] for line in lines["llama/quark-ptpc"]] == ["- refused"]


def test_a_new_card(tmp_path: Path) -> None:
    text = card_of(
        folder_with(tmp_path, "llama/llmcompressor-fp8-kv"),
        name="org/model-FP8",
        base_model="org/model",
        converted_from="org/model-quark",
    )
    from huggingface_hub import ModelCard

    data = ModelCard(text).data
    assert data.base_model == "org/model"
    assert data["base_model_relation"] == "quantized"
    assert data.tags == ["fp8", "w8a8", "compressed-tensors"]
    assert "vllm serve org/model-FP8 --kv-cache-dtype fp8" in text
    assert "| Converted from | org/model-quark |" in text


USERS_CARD = """\
---
# our own comment
license: apache-2.0
tags:
- llama   # kept
- quark
language: [en, de]
custom:
    deep:  {a: 1,   b: null}
base_model: org/base
model-index: []
---

# My model

Text of mine, with a table:

| a | b |
|---|---|
| 1 | 2 |
"""


def test_the_users_text_and_metadata_stay(tmp_path: Path) -> None:
    text = card_of(folder_with(tmp_path, "llama/llmcompressor-dynamic", USERS_CARD))
    block, _, body = text.partition("---\n\n# My model")
    old_body = USERS_CARD.partition("---\n\n# My model")[2]
    assert body.startswith(old_body)
    for line in ("# our own comment", "license: apache-2.0", "language: [en, de]", "    deep:  {a: 1,   b: null}"):
        assert line in block
    assert "- llama" in block
    assert "- quark" not in block
    assert "base_model_relation: quantized" in block


def test_only_the_section_is_replaced(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "llama/llmcompressor-dynamic", USERS_CARD)
    text = card_of(folder, name="org/model")
    (folder / "README.md").write_text(text + "\nMore text below.\n")
    for file in (LLAMA / "llmcompressor-fp8-kv").iterdir():
        shutil.copy(file, folder)
    changed = card_of(folder)
    assert changed.endswith(f"{END}\n\nMore text below.\n")
    assert "static per-tensor activations" in changed
    assert "vllm serve org/model --kv" in changed
    assert changed.count(START) == changed.count(END) == 1


@pytest.mark.parametrize("name", ["my model", "it's"])
def test_a_name_is_served_as_one_word(tmp_path: Path, name: str) -> None:
    text = card_of(folder_with(tmp_path, "llama/quark-ptpc"), name=name)
    assert f"vllm serve {shlex.quote(name)}\n" in text


@pytest.mark.parametrize("serve", ["vllm serve 'half", "vllm serve  "])
def test_a_section_whose_name_cannot_be_read_is_made_anew(tmp_path: Path, serve: str) -> None:
    folder = folder_with(tmp_path, "llama/quark-ptpc", f"{START}\n{serve}\n{END}\n")
    assert "\nvllm serve model\n" in card_of(folder)


def test_line_breaks_of_windows_stay(tmp_path: Path) -> None:
    text = card_of(folder_with(tmp_path, "llama/quark-ptpc", USERS_CARD.replace("\n", "\r\n")))
    assert "\n" not in text.replace("\r\n", "")


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_metadata_behind_a_byte_order_mark_stays(tmp_path: Path, line_break: str) -> None:
    """The hub library finds no metadata behind one, so it goes; the keys do not."""
    marked = "\ufeff" + USERS_CARD.replace("\n", line_break)
    folder = folder_with(tmp_path, "llama/llmcompressor-dynamic", marked)
    assert [fault.found for fault in contradictions(ckptkit.open(folder), marked)] == ["quark"]
    text = card_of(folder)
    assert text.startswith(f"---{line_break}# our own comment{line_break}license: apache-2.0")
    assert text.count(f"---{line_break}") == 2, "one block"


@pytest.mark.parametrize("card", ["", "just text", "---\n---\n# empty block\n", f"{START}\nold\n{END}\n"])
def test_cards_of_all_kinds(tmp_path: Path, card: str) -> None:
    text = card_of(folder_with(tmp_path, "llama/quark-ptpc", card))
    assert text.startswith("---\n")
    assert own_section(text)


@pytest.mark.parametrize("card", ["---\n[: not yaml\n---\n", "---\n- a list\n---\n", f"{START}\nno end\n"])
def test_cards_that_cannot_be_changed_are_refused(tmp_path: Path, card: str) -> None:
    folder = folder_with(tmp_path, "llama/quark-ptpc", card)
    with pytest.raises(CkptkitError):
        make(ckptkit.open(folder), folder)


# -- where a card is written ------------------------------------------------------------------------------------------


def cached_snapshot(tmp_path: Path) -> Path:
    """A checkpoint in the hub library's cache: links into a folder that all its revisions share."""
    blobs, snapshot = tmp_path / "models--org--model" / "blobs", tmp_path / "models--org--model" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "README.md").write_text("# theirs\n")
    for file in (LLAMA / "quark-ptpc").iterdir():
        shutil.copy(file, blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    return snapshot


def test_the_hubs_cache_is_not_ours_to_change(tmp_path: Path) -> None:
    snapshot = cached_snapshot(tmp_path)
    linked = tmp_path / "linked"
    linked.symlink_to(snapshot)
    for folder in (snapshot, linked):
        card = make(ckptkit.open(folder), folder)
        with pytest.raises(OutputError, match="the hub's cache and is not ours to change") as caught:
            write(card)
        assert "--print" in str(caught.value.help)
    assert (snapshot / "README.md").is_symlink()
    assert (snapshot / "README.md").read_text() == "# theirs\n"


def test_a_linked_card_is_not_ours_to_change(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "llama/quark-ptpc")
    (folder / "CARD.md").write_text("# theirs\n")
    (folder / "README.md").symlink_to("CARD.md")
    card = make(ckptkit.open(folder), folder)
    with pytest.raises(OutputError, match="symbolic link"):
        write(card)
    assert (folder / "README.md").is_symlink()
    assert (folder / "CARD.md").read_text() == "# theirs\n"


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    folder = folder_with(tmp_path, "llama/quark-ptpc", "# mine\n")
    card = make(ckptkit.open(folder), folder)
    monkeypatch.setattr(module, "write_beside", read_only)
    with pytest.raises(OutputError, match=r"README\.md cannot be written: Read-only file system"):
        write(card)
    assert (folder / "README.md").read_text() == "# mine\n"


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = folder_with(tmp_path, "llama/quark-ptpc", "# mine\n")
    before = sorted(folder.iterdir())
    card = make(ckptkit.open(folder), folder)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        write(card)
    assert sorted(folder.iterdir()) == before
    assert (folder / "README.md").read_text() == "# mine\n"


def test_the_cards_permissions_stay(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "llama/quark-ptpc", "# mine\n")
    (folder / "README.md").chmod(0o640)
    card_of(folder)
    assert (folder / "README.md").stat().st_mode & 0o777 == 0o640


# -- contradictions --------------------------------------------------------------------------------------------------

DYNAMIC, STATIC_KV = "llmcompressor-dynamic", "llmcompressor-fp8-kv"


@pytest.mark.parametrize(
    ("fixture", "card", "kinds"),
    [
        (DYNAMIC, "---\ntags: [quark]\n---\n", ["card-tag"]),
        (DYNAMIC, "---\ntags: [fp8, compressed-tensors, W8A8, llama]\n---\n", []),
        (DYNAMIC, "---\ntags: [int4, awq]\n---\n", ["card-tag", "card-tag"]),
        ("llmcompressor-weight-only", "---\ntags: [w8a8]\n---\n", ["card-tag"]),
        (DYNAMIC, "---\nbase_model: a/b\nbase_model_relation: finetune\n---\n", ["card-relation"]),
        (DYNAMIC, "---\nbase_model: a/b\nbase_model_relation: quantized\n---\n", []),
        (DYNAMIC, 'recipe = QuantizationModifier(targets="Linear", scheme="FP8", ignore=["lm_head"])', ["card-scheme"]),
        (DYNAMIC, 'recipe = QuantizationModifier(scheme="FP8_DYNAMIC", ignore=["lm_head"])', []),
        (STATIC_KV, 'QuantizationModifier(scheme="FP8_BLOCK")', ["card-scheme"]),
        (STATIC_KV, 'QuantizationModifier(scheme="FP8")', []),
        (STATIC_KV, "Comes with an FP8 KV cache.", []),
        (DYNAMIC, "Comes with an FP8 KV cache.", ["card-kv-cache"]),
        (DYNAMIC, "There is no FP8 KV cache in this one.", []),
        (DYNAMIC, 'ignore=["lm_head", "model.layers.0.mlp.up_proj"]', ["card-ignored"]),
        (DYNAMIC, "---\ntags: 3\n---\n", []),
        (DYNAMIC, "---\n: broken\n---\n", []),
    ],
)
def test_claims_against_tensors(fixture: str, card: str, kinds: list[str]) -> None:
    faults = contradictions(ckptkit.open(LLAMA / fixture), card)
    assert [fault.kind for fault in faults] == kinds
    assert all(fault.help and fault.found for fault in faults)


def test_a_card_that_was_copied_along_is_noticed(tmp_path: Path) -> None:
    text = card_of(folder_with(tmp_path, f"llama/{STATIC_KV}"))
    found = {fault.message for fault in contradictions(ckptkit.open(LLAMA / DYNAMIC), text)}
    for row in ("Scheme", "KV cache", "Weight scales"):
        assert f"the quantization section is out of date: {row}" in found


def test_a_card_is_written_into_a_local_folder(tmp_path: Path) -> None:
    checkpoint = ckptkit.open(LLAMA / DYNAMIC)
    with pytest.raises(CkptkitError, match="not a folder on this machine"):
        make(checkpoint, tmp_path / "org" / "model")


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "llama/quark-ptpc")
    done = run("ckptkit", "card", folder, "--check")
    assert done.returncode == 1
    done = run("ckptkit", "card", folder, "--print")
    assert START in done.stdout
    assert not (folder / "README.md").exists()
    assert "written" in run("ckptkit", "card", folder, "--base-model", "org/model").stdout
    assert "unchanged" in run("ckptkit", "card", folder).stdout
