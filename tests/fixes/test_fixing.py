"""How fixes are judged: together, against all rules, and taken back when they do harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckptkit import api
from ckptkit.checks import fixing, registry
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding
from ckptkit.checks.fixing import find_fixes
from ckptkit.checks.registry import Fixer, Level
from ckptkit.conversion import apply_fixes as writing
from ckptkit.edits.changes import AddItem, Drop, Edit, Rename, RenameKey, Reshape, SetKey
from ckptkit.edits.editor import EditConflictError, change_config
from ckptkit.edits.workspace import Workspace
from ckptkit.errors import OutputError
from ckptkit.storage.container import CONFIG_FILE
from ckptkit.validation import write_fixes
from tests.damage import REAL, load, off_boundary, tensors_of
from tests.raw import RawTensor

CT = "llama/llmcompressor-dynamic"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Per-channel scales in the wrong rank."""
    checkpoint = load(CT)
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    return checkpoint.write(tmp_path / "flat")


def test_wide_elements_stay_on_their_boundary(tmp_path: Path) -> None:
    """A fix that drops one of two leading bytes would leave all that follows at odd offsets."""
    checkpoint = load(CT)
    odd = {
        "lm_head.weight_scale": RawTensor("F8_E8M0", (1,), b"\x7f"),
        "model.layers.0.flag": RawTensor("U8", (1,), b"\x01"),
    }
    checkpoint.shards = {file: {**odd, **tensors} for file, tensors in checkpoint.shards.items()}
    folder = checkpoint.write(tmp_path / "odd")
    assert off_boundary(folder) == []
    result = find_fixes(api.open_files(folder), Level.SCALES, unsafe=True)
    assert [fix.code for fix in result.applied if fix.code != "CK619"] == ["CK202"]
    write_fixes(result, folder)
    assert off_boundary(folder) == []
    del odd["lm_head.weight_scale"]
    assert tensors_of(folder) == {**odd, **load(CT).tensors}


def use(monkeypatch: pytest.MonkeyPatch, code: str, *edits: Edit) -> None:
    """Let one fix exist, which makes these edits for the first finding of its code."""

    def function(context: Context, finding: Finding) -> Iterator[Edit]:
        yield from edits

    monkeypatch.setattr(fixing, "all_fixers", lambda: {code: (Fixer(code, "safe", function),)})


def test_many_damages_at_once(tmp_path: Path) -> None:
    checkpoint = load("llama/llmcompressor-fp8-kv")
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    checkpoint.change(r".*\.weight_scale_inv", lambda t: t._replace(shape=(1, 1)))
    checkpoint.rename(r"(.*self_attn)\.([kv])_scale", r"\1.\2_proj.output_scale")
    checkpoint.block["ignore"] = ["model.layers.77.mlp"]
    del checkpoint.block["quantization_status"]
    checkpoint.config["compression_config"] = checkpoint.config.pop("quantization_config")
    checkpoint.metadata = None
    folder = checkpoint.write(tmp_path / "wreck")
    result = find_fixes(api.open_files(folder), Level.SCALES)
    assert {fix.code for fix in result.applied} >= {
        "CK111",
        "CK203",
        "CK302",
        "CK605",
        "CK607",
        "CK618",
        "CK620",
        "CK903",
    }
    assert result.reverted == () and result.after.clean
    assert write_fixes(result, folder)
    assert api.validate(folder).clean


def test_a_fix_that_uncovers_something_clears_that_too_or_goes(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fix makes a new finding of a rule whose fix exists; without that fix the first is taken back."""
    checkpoint = load(CT)
    checkpoint.change(r".*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    folder = checkpoint.write(flat.parent / "both")
    assert find_fixes(api.open_files(folder), Level.SCALES).after.clean
    real = fixing.all_fixers()
    monkeypatch.setattr(fixing, "all_fixers", lambda: {"CK203": real["CK203"]})
    result = find_fixes(api.open_files(folder), Level.SCALES)
    assert not result.changes and "CK301" in result.reverted[0].reason


def test_a_fix_that_does_not_clear_its_finding_is_taken_back(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "CK301", SetKey(("comment",), "done"))
    result = find_fixes(api.open_files(flat), Level.SCALES)
    assert not result.changes and result.after == result.before
    assert [(item.code, "would not go" in item.reason) for item in result.reverted] == [("CK301", True)]


def test_a_fix_that_makes_a_new_finding_is_taken_back(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = api.open_files(flat).tensors
    use(monkeypatch, "CK301", *(Drop(t.shard, t.name) for t in tensors.values() if t.name.endswith("_scale")))
    result = find_fixes(api.open_files(flat), Level.SCALES)
    assert not result.changes and "CK201" in result.reverted[0].reason


def test_one_bad_edit_does_not_spoil_the_others(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All scales are fixed but the one whose edit is impossible."""

    def function(context: Context, finding: Finding) -> Iterator[Edit]:
        tensor = context.container.tensors[finding.tensor or ""]
        wrong = 1 if "0.mlp.up_proj" in tensor.name else 0
        yield Reshape(tensor.shard, tensor.name, tensor.shape, (*tensor.shape, 1 + wrong))

    monkeypatch.setattr(fixing, "all_fixers", lambda: {"CK301": (Fixer("CK301", "safe", function),)})
    result = find_fixes(api.open_files(flat), Level.SCALES)
    assert [finding.tensor for finding in result.after.findings if finding.code == "CK301"] == [
        "model.layers.0.mlp.up_proj.weight_scale"
    ]
    (fix,) = result.applied
    assert fix.findings == len(fix.edits) == 13 and "cannot become" in result.reverted[0].reason


def test_edits_that_contradict_are_taken_back(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = next(t for t in api.open_files(flat).tensors.values() if t.name.endswith("_scale"))
    use(monkeypatch, "CK301", Rename(tensor.shard, tensor.name, "a"), Rename(tensor.shard, tensor.name, "b"))
    assert "not stored" in find_fixes(api.open_files(flat), Level.SCALES).reverted[0].reason


@pytest.mark.parametrize(
    "edit",
    [
        Rename("model.safetensors", "no.such.tensor", "x"),
        Rename("model.safetensors", "model.norm.weight", "lm_head.weight"),
        Reshape("model.safetensors", "model.norm.weight", (64,), (65,)),
        Drop("model-00001.safetensors", "model.norm.weight"),
        RenameKey(("no_such_key",), "x"),
        RenameKey(("vocab_size",), "hidden_size"),
        SetKey(("vocab_size", "deeper"), 1),
    ],
)
def test_impossible_edits_are_conflicts(edit: Edit) -> None:
    workspace = Workspace.of(api.open_files(REAL / CT))
    with pytest.raises((EditConflictError, TypeError)):
        workspace.apply([edit])


def test_an_edit_leaves_the_workspace_before_it_as_it_was() -> None:
    workspace = Workspace.of(api.open_files(REAL / CT))
    after = workspace.apply([AddItem(("quantization_config", "ignore"), "new")])
    assert "new" in after.documents[CONFIG_FILE]["quantization_config"]["ignore"]
    assert "new" not in workspace.documents[CONFIG_FILE]["quantization_config"]["ignore"] and not workspace.changed


def test_config_edits_keep_the_order_of_keys() -> None:
    config = {"a": 1, "b": {"c": [1]}, "d": None}
    change_config(config, RenameKey(("b",), "e"))
    change_config(config, AddItem(("e", "f"), "x"))
    assert json.dumps(config) == '{"a": 1, "e": {"c": [1], "f": ["x"]}, "d": null}'


@pytest.mark.parametrize("indent", [None, 2, 4, "\t"])
def test_the_config_keeps_its_layout(tmp_path: Path, indent: int | str | None) -> None:
    folder = load(CT).write(tmp_path / "source")
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["Lläma"]
    text = json.dumps(config, indent=indent)
    (folder / "config.json").write_text(text, encoding="utf-8")
    workspace = Workspace.of(api.open_files(folder))
    assert workspace.text_of(CONFIG_FILE) == text
    changed = workspace.apply([SetKey(("new",), 1)]).text_of(CONFIG_FILE)
    assert changed == json.dumps({**config, "new": 1}, indent=indent)


def test_a_sound_folder_is_not_touched(tmp_path: Path) -> None:
    folder = load("llama/quark-ptpc").write(tmp_path / "sound")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = find_fixes(api.open_files(folder), Level.SCALES, unsafe=True)
    assert not result.changes and not write_fixes(result, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_only_files_that_differ_are_replaced(tmp_path: Path) -> None:
    checkpoint = load("llama/quark-ptpc-sharded")
    checkpoint.block["exclude"] = []
    folder = checkpoint.write(tmp_path / "three")
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert write_fixes(find_fixes(api.open_files(folder), Level.SCALES), folder)
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["config.json"]


@pytest.mark.parametrize("copy", [False, True], ids=["in place", "a copy"])
def test_how_far_writing_is_is_told_in_bytes(copy: bool, flat: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    output = tmp_path / "out" if copy else None
    before = {path.stat().st_ino for path in flat.iterdir()}
    fixes = find_fixes(api.open_files(flat), Level.SCALES)
    assert write_fixes(fixes, flat, output, on_write=lambda done, total: told.append((done, total)))
    found = [path.stat() for path in (output or flat).iterdir()]
    total = sum(file.st_size for file in found if file.st_ino not in before)
    assert told[0] == (0, total)
    assert {wanted for _, wanted in told} == {total}
    assert sum(done for done, _ in told) == total


def test_a_damaged_shard_is_never_rewritten(tmp_path: Path) -> None:
    checkpoint = load("llama/quark-ptpc-sharded")
    checkpoint.metadata = None
    folder = checkpoint.write(tmp_path / "cut")
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-1])
    before = shard.read_bytes()
    write_fixes(find_fixes(api.open_files(folder), Level.SCALES, unsafe=True), folder)
    assert shard.read_bytes() == before


def test_with_a_missing_shard_the_index_stays(tmp_path: Path) -> None:
    checkpoint = load("llama/quark-ptpc-sharded")
    assert checkpoint.index is not None
    checkpoint.index["metadata"]["total_size"] = 1
    folder = checkpoint.write(tmp_path / "two")
    sorted(folder.glob("*.safetensors"))[1].unlink()
    index = folder / "model.safetensors.index.json"
    before = index.read_bytes()
    write_fixes(find_fixes(api.open_files(folder), Level.SCALES, unsafe=True), folder)
    assert index.read_bytes() == before


def test_what_cannot_be_read_back_is_not_put_in_place(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in flat.iterdir()}
    real = writing.write_container

    def truncate(container: object, source: object, folder: Path, **options: object) -> None:
        real(container, source, folder, **options)  # type: ignore[arg-type]
        shard = folder / "model.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1])

    monkeypatch.setattr(writing, "write_container", truncate)
    result = find_fixes(api.open_files(flat), Level.SCALES)
    for target in (None, flat.parent / "new"):
        with pytest.raises(OutputError):
            write_fixes(result, flat, target)
    assert {path.name: path.read_bytes() for path in flat.iterdir()} == before
    assert [path.name for path in flat.parent.iterdir()] == ["flat"]


def test_selection_limits_what_is_fixed(flat: Path) -> None:
    chosen = registry.select(["CK1"])
    assert not find_fixes(api.open_files(flat), Level.SCALES, rules=chosen).changes
