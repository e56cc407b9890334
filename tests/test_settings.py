"""Settings from files: where they are looked for, which wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptkit.checks.settings import CHECKPOINT_FILE, PROJECT_FILE, Settings, combine, load_layers
from ckptkit.errors import UsageError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "models" / "a").mkdir(parents=True)
    return folder


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def load_settings(checkpoint: Path | None = None, start: Path | None = None) -> Settings:
    return combine(load_layers(checkpoint, start))


def test_without_files_the_defaults_hold(project: Path) -> None:
    assert load_settings(project / "models" / "a", project) == Settings()


def test_the_nearest_project_that_speaks_of_us_is_read(project: Path) -> None:
    put(project, PROJECT_FILE, '[tool.ckptkit]\nignore = ["CK111"]\ntp = [1, 2]\noutput-format = "concise"\n')
    put(project / "models", PROJECT_FILE, '[project]\nname = "other"\n')
    settings = load_settings(start=project / "models")
    assert (settings.ignore, settings.tensor_parallel, settings.output_format) == (("CK111",), (1, 2), "concise")
    assert settings.files == (str(project / PROJECT_FILE),)


def test_hardware_is_said_by_any_of_its_names(project: Path) -> None:
    put(project, PROJECT_FILE, '[tool.ckptkit]\ngpu = "H200"\n')
    assert load_settings(start=project).gpu == "sm_90"


def test_a_mention_is_not_a_table(project: Path) -> None:
    put(project, PROJECT_FILE, '[project]\ndependencies = ["ckptkit"]\n')
    assert load_settings(start=project) == Settings()


def test_the_checkpoint_comes_before_the_project(project: Path) -> None:
    put(project, PROJECT_FILE, '[tool.ckptkit]\nignore = ["CK111"]\nlevel = "headers"\nfor = ["vllm"]\n')
    put(project / "models" / "a", CHECKPOINT_FILE, 'ignore = ["CK110"]\nlevel = "full"\n')
    settings = load_settings(project / "models" / "a", project)
    assert (settings.ignore, settings.level, settings.engines) == (("CK111", "CK110"), "full", ("vllm",))
    assert len(settings.files) == 2


def test_a_stronger_selection_starts_afresh() -> None:
    weak = Settings(ignore=("CK301",), extend_select=("CK9",))
    strong = weak.with_layer({"select": ("CK3",)})
    assert (strong.select, strong.extend_select, strong.ignore) == (("CK3",), ("CK9",), ())


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (PROJECT_FILE, "[tool.ckptkit]\nignored = []\n", "unknown key 'ignored'"),
        (PROJECT_FILE, '[tool.ckptkit]\nlevel = "deep"\n', "level must be one of headers, scales, full, not 'deep'"),
        (PROJECT_FILE, "[tool.ckptkit]\nselect = 3\n", "select must be a list of strings, not 3"),
        (PROJECT_FILE, "[tool.ckptkit]\nselect = []\n", "select must be one word at least, not []"),
        (CHECKPOINT_FILE, 'for = ""\n', "for must be one word at least, not ''"),
        (PROJECT_FILE, '[tool]\nckptkit = "x"\n', "[tool.ckptkit] must be a table, not 'x'"),
        (PROJECT_FILE, '[tool.ckptkit]\ngpu = "h10"\n', "gpu must be one of a100,"),
        (PROJECT_FILE, "[tool.ckptkit]\ngpu = 90\n", "gpu must be one of a100,"),
        (CHECKPOINT_FILE, 'gpu = "h100"\n', "unknown key 'gpu'"),
        (PROJECT_FILE, "[tool.ckptkit]\ntp = [0]\n", "tp must be a list of whole numbers above zero"),
        (PROJECT_FILE, "[tool.ckptkit]\nunsafe-fixes = 1\n", "unsafe-fixes must be true or false"),
        (PROJECT_FILE, "[tool.ckptkit\n", "Expected"),
        (CHECKPOINT_FILE, "unsafe-fixes = true\n", "unknown key 'unsafe-fixes'"),
        (CHECKPOINT_FILE, 'output-format = "json"\n', "unknown key 'output-format'"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(project: Path, name: str, text: str, complaint: str) -> None:
    put(project, name, text)
    with pytest.raises(UsageError) as refusal:
        load_settings(project, project)
    assert complaint in str(refusal.value) and str(project / name) in str(refusal.value)


def test_a_misspelt_key_is_guessed(project: Path) -> None:
    put(project, CHECKPOINT_FILE, 'ignor = ["CK1"]\n')
    with pytest.raises(UsageError) as refusal:
        load_settings(project, project)
    assert refusal.value.help == "did you mean 'ignore'?"


def test_a_tool_that_is_no_table_is_somebody_elses_mistake(project: Path) -> None:
    put(project, PROJECT_FILE, 'tool = "ckptkit"\n')
    assert load_settings(start=project) == Settings()


def test_only_the_checkpoints_own_file_is_a_strangers(project: Path) -> None:
    put(project, PROJECT_FILE, '[tool.ckptkit]\nignore = ["CK111"]\n')
    put(project / "models" / "a", CHECKPOINT_FILE, 'ignore = ["CK110"]\n')
    assert [layer.own for layer in load_layers(project / "models" / "a", project)] == [False, True]
