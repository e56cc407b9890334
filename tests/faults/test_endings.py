"""How a command ends: one error of ours whatever happens, and exit codes that say what is true."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import ckptkit
from ckptkit import api
from ckptkit.checks.registry import Level
from ckptkit.conversion.diff import compare
from ckptkit.conversion.plan import Plan
from ckptkit.errors import CkptkitError
from ckptkit.report.internal import internal_error
from tests.damage import CT, CT_FP8, QUARK, QUARK_KV, load
from tests.faults.snapshot import snapshot

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"
HUGE = 200 << 30


def run(*arguments: object, code: str = "", stdout: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, after some code that changes what it meets; ``stdout`` is a file to print to."""
    start = f"{code}\nimport sys\nfrom ckptkit.cli.main import main\nmain()"
    command = [sys.executable, "-c", start, *map(str, arguments)]
    if stdout is None:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    with open(stdout, "w") as file:
        return subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=False, timeout=120)


# -- exceptions that are not ours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RuntimeError", "KeyError", "RecursionError", "AssertionError", "struct.error"])
def test_a_defect_is_told_as_one(kind: str) -> None:
    code = f"""
import struct
from ckptkit.model import summary
def broken(*arguments, **options):
    raise {kind}("hf_TopSecretToken at https://user:word@host/x?X-Signature=abc\\x1b[31m")
summary.summarise = broken
"""
    done = run("inspect", REAL / CT, code=code)
    assert done.returncode == 2 and done.stdout == ""
    assert f"this is a defect of ckptkit, and not of your files: {kind.rpartition('.')[2]}" in done.stderr
    assert "Traceback" not in done.stderr and "api.py:" in done.stderr and "command: ckptkit inspect" in done.stderr
    assert all(secret not in done.stderr for secret in ("TopSecret", "word@", "abc", "\x1b"))


def test_a_second_interrupt_while_the_end_is_told_is_no_traceback() -> None:
    code = """
from ckptkit.report import text
def interrupted(error):
    raise KeyboardInterrupt
text.show_error = interrupted
"""
    done = run("inspect", REAL / "nothing", code=code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_too_little_memory_is_no_defect() -> None:
    assert "not enough memory" in internal_error(MemoryError(), []).message


@pytest.mark.parametrize(
    "change",
    [
        lambda block: block["export"].update(kv_cache_group=["*k_proj", "*nothing"]),
        lambda block: block.update(layer_quant_config={}),
        lambda block: block.update(global_quant_config=dict.fromkeys(block["global_quant_config"])),
    ],
)
def test_a_quark_config_whose_cache_cannot_be_written_again(change: object, tmp_path: Path) -> None:
    checkpoint = load(QUARK_KV)
    checkpoint.drop(r".*(weight_scale|input_scale)")
    for shard, name in checkpoint.places(r".*_proj\.weight"):
        tensor = shard[name]
        shard[name] = tensor._replace(dtype="BF16", data=b"\x80\x3f" * len(tensor.data))
    change(checkpoint.block)  # type: ignore[operator]
    folder = checkpoint.write(tmp_path / "checkpoint")
    for option in ("--diff", "--fix"):
        done = run("validate", folder, option, "--unsafe-fixes")
        assert done.returncode in (0, 1, 2) and "defect" not in done.stderr


@pytest.mark.parametrize(
    ("dtype", "nbytes"), [("F64", 8), ("I64", 8), ("F4", 1), ("U8", 1), ("BOOL", 1), ("F8_E4M3", 1)]
)
@pytest.mark.parametrize("both", [True, False])
def test_scales_of_odd_dtypes_are_compared(dtype: str, nbytes: int, both: bool, tmp_path: Path) -> None:
    folders = []
    for side in range(2):
        checkpoint = load(CT_FP8)
        shard, name = checkpoint.places(r".*\.weight_scale")[0]
        if both or side:
            shape = (2,) if dtype == "F4" else (1,)
            shard[name] = shard[name]._replace(dtype=dtype, shape=shape, data=bytes([side + 1] * nbytes))
        folders.append(checkpoint.write(tmp_path / str(side)))
    comparison = compare(*map(api.open, folders), lambda nbytes: None, Level.FULL)
    assert not comparison.same
    assert compare(*map(api.open, folders[:1] * 2), lambda nbytes: None, Level.FULL).same


# -- side files of any size ------------------------------------------------------------------------------------------

SIDE_FILES = ("README.md", "tokenizer.json", "generation_config.json", "hf_quant_config.json", ".ckptkit.toml")


def with_huge(folder: Path, name: str) -> Path:
    """A folder with a sparse file of 200 GB, which takes no room."""
    with open(folder / name, "wb") as file:
        try:
            os.truncate(file.fileno(), HUGE)
        except OSError:
            pytest.skip("no file can be that large here")
    return folder


COMMANDS: dict[str, Sequence[str]] = {
    "validate": ("validate", "@"),
    "fix": ("validate", "@", "--diff"),
    "inspect": ("inspect", "@"),
    "diff": ("diff", "@", "@2"),
    "plan": ("convert", "--to", "quark", "--dry-run", "@"),
    "card": ("card", "@", "--check"),
}


@pytest.mark.parametrize("name", [*SIDE_FILES, "config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_side_files_of_200_gb_cost_nothing(name: str, command: str, tmp_path: Path) -> None:
    """A gigabyte of memory is enough, and a few seconds."""
    shutil.copytree(REAL / CT, tmp_path / "one")
    with_huge(tmp_path / "one", name)
    shutil.copytree(REAL / CT, tmp_path / "two")
    if name in ("tokenizer.json", "generation_config.json"):
        with_huge(tmp_path / "two", name)
    paths = {"@": str(tmp_path / "one"), "@2": str(tmp_path / "two")}
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))"
    done = run(*(paths.get(argument, argument) for argument in COMMANDS[command]), code=limit)
    assert done.returncode in (0, 1, 2)
    assert "defect" not in done.stderr and "memory" not in done.stderr and "Traceback" not in done.stderr


DEEP = {
    "config.json": b'{"a":' * 50_000,
    "model.safetensors.index.json": b"[" * 50_000 + b"]" * 50_000,
    "generation_config.json": b"[" * 50_000 + b"]" * 50_000,
    "hf_quant_config.json": b"[" * 50_000 + b"]" * 50_000,
    ".ckptkit.toml": b"ignore = " + b"[" * 5_000,
    "pyproject.toml": b"tool.ckptkit.ignore = " + b"[" * 5_000 + b"]" * 5_000,
    "README.md": b"---\n" + b"[" * 5_000 + b"\n---\n# Deep\n",
}


@pytest.mark.parametrize("name", list(DEEP))
@pytest.mark.parametrize("command", list(COMMANDS))
def test_deep_text_is_refused_in_words(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REAL / CT, tmp_path / "one")
    (tmp_path / "one" / name).write_bytes(DEEP[name])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    monkeypatch.chdir(tmp_path / "one")
    paths = {"@": str(tmp_path / "one"), "@2": str(tmp_path / "two")}
    done = run(*(paths.get(argument, argument) for argument in COMMANDS[command]))
    assert done.returncode in (0, 1, 2)
    assert "defect" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "front",
    [
        "a: b: c",
        "[: not yaml",
        "&x [*x]",
        "a: &a [1]\nb: *a",
        "!!python/name:os.system",
        "\x00",
        "- a: {",
        "a: 2024-99-99",
    ],
)
def test_a_card_whose_metadata_are_none(front: str, tmp_path: Path) -> None:
    shutil.copytree(REAL / CT, tmp_path / "one")
    (tmp_path / "one" / "README.md").write_text(f"---\n{front}\n---\n# Card\n")
    assert api.validate(tmp_path / "one").findings is not None
    done = run("card", tmp_path / "one", "--print")
    assert done.returncode == 2 and "defect" not in done.stderr and "metadata block cannot be read" in done.stderr


# -- exit codes ------------------------------------------------------------------------------------------------------

FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no device that is always full")


@needs_full
def test_a_conversion_is_done_whoever_hears_of_it(tmp_path: Path) -> None:
    """The plan is printed before anything is written, so that only a document comes too late to stop it."""
    done = run("convert", "quark→ct", REAL / QUARK, tmp_path / "no", stdout=FULL)
    assert done.returncode == 2 and not (tmp_path / "no").exists()
    done = run("convert", "quark→ct", REAL / QUARK, tmp_path / "out", "--json", stdout=FULL)
    assert done.returncode == 0, done.stderr
    assert f"written: {tmp_path / 'out'}; but standard output could not be written: No space left" in done.stderr
    assert api.diff(REAL / QUARK, tmp_path / "out").same


def test_the_last_line_may_fail_alone(tmp_path: Path) -> None:
    code = """
from ckptkit.report import result_text
def fail(result):
    raise BrokenPipeError(32, "Broken pipe")
result_text.show_result = fail
"""
    done = run("convert", "quark→ct", REAL / QUARK, tmp_path / "out", code=code)
    assert done.returncode == 0 and "written: " in done.stderr and (tmp_path / "out").is_dir()


@needs_full
def test_a_fix_and_a_card_are_done_whoever_hears_of_it(tmp_path: Path) -> None:
    checkpoint = load(CT)
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    folder = checkpoint.write(tmp_path / "checkpoint")
    done = run("validate", "--fix", folder, stdout=FULL)
    assert done.returncode == 0 and "fixed: " in done.stderr
    assert api.validate(folder).clean
    done = run("card", folder, stdout=FULL)
    assert done.returncode == 0 and "written: " in done.stderr and (folder / "README.md").exists()


@needs_full
def test_a_report_that_nobody_can_read_is_no_success() -> None:
    assert run("validate", REAL / CT, stdout=FULL).returncode == 2


FAILING_SYNC = """
import os
real = os.fsync
def fsync(handle):
    if os.readlink(f"/proc/self/fd/{handle}") == PLACE:
        raise OSError(5, "Input/output error")
    real(handle)
os.fsync = fsync
"""


def test_a_last_sync_that_fails_is_told_as_such(tmp_path: Path) -> None:
    code = FAILING_SYNC.replace("PLACE", repr(str(tmp_path)))
    done = run("convert", "quark→ct", REAL / QUARK, tmp_path / "out", code=code)
    assert done.returncode == 0
    assert "warning: " in done.stderr and "is complete, but the disk has not confirmed it" in done.stderr
    assert api.diff(REAL / QUARK, tmp_path / "out").same


@pytest.mark.parametrize("call", ["chmod", "fchmod"])
def test_modes_that_cannot_be_set_stop_nothing(call: str, tmp_path: Path) -> None:
    """As on mounts that have one mode for all files."""
    code = f"""
import os
def refused(*arguments, **options):
    raise PermissionError(1, "Operation not permitted")
os.{call} = refused
"""
    done = run("convert", "quark→ct", REAL / QUARK, tmp_path / "out", code=code)
    assert done.returncode == 0 and api.diff(REAL / QUARK, tmp_path / "out").same
    checkpoint = load(CT)
    checkpoint.rename(r"(.*)\.weight_scale", r"\1.weight_scale_inv")
    folder = checkpoint.write(tmp_path / "checkpoint")
    assert run("validate", "--fix", folder, code=code).returncode == 0
    assert run("card", folder, code=code).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "out"]


def test_a_leftover_of_ours_is_no_file_of_the_checkpoint(tmp_path: Path) -> None:
    shutil.copytree(REAL / CT, tmp_path / "one")
    (tmp_path / "one" / ".README.md.ckptkit-new").write_text("half")
    ckptkit.convert(tmp_path / "one", tmp_path / "out", to="quark")
    assert not (tmp_path / "out" / ".README.md.ckptkit-new").exists()


# -- what a plan says ------------------------------------------------------------------------------------------------


def test_a_plan_says_what_rules_will_find(tmp_path: Path) -> None:
    """A card that is true of the source and not of the result."""
    shutil.copytree(REAL / QUARK, tmp_path / "one")
    assert run("card", tmp_path / "one").returncode == 0
    assert api.validate(tmp_path / "one").clean
    plan = api.plan(tmp_path / "one", to="ct")
    api.convert(tmp_path / "one", tmp_path / "out", to="ct")
    found = {finding.code for finding in api.validate(tmp_path / "out").findings if finding.severity.value != "info"}
    (note,) = [note for note in plan.notes if "will find in the result" in note]
    assert found == {"CK630"} and "CK630 card-contradicts-tensors" in note


CONVERTIBLE = sorted(path.parent.relative_to(REAL).as_posix() for path in REAL.glob("llama*/*/config.json"))


@pytest.mark.parametrize("fixture", CONVERTIBLE)
@pytest.mark.parametrize("target", ["ct", "quark"])
def test_a_clean_source_makes_a_clean_result_or_the_plan_says_more(fixture: str, target: str, tmp_path: Path) -> None:
    try:
        plan = api.plan(REAL / fixture, to=target)
    except CkptkitError:
        return
    before = snapshot(REAL / fixture)
    api.convert(REAL / fixture, tmp_path / "out", to=target)
    assert snapshot(REAL / fixture) == before
    old, new = (
        {finding.code for finding in api.validate(folder).findings if finding.severity.value != "info"}
        for folder in (REAL / fixture, tmp_path / "out")
    )
    told = " ".join(plan.notes)
    assert [code for code in new - old if code not in told] == []


def test_a_plan_that_somebody_changed_is_refused_in_words(tmp_path: Path) -> None:
    """Every value of a plan in turn is something else: refused, or carried out; never somebody else's exception."""
    source = REAL / QUARK
    document = api.plan(source, to="ct").to_json()
    document["jobs"] = [dict(job, tensors=job["tensors"][:2]) if "tensors" in job else job for job in document["jobs"]]
    text = json.dumps(document)
    ways = [way for way in _ways(document) if way]
    assert len(ways) > 60
    for number, way in enumerate(ways):
        for value in (None, {}, "x", -1, 1 << 70, 1.5)[number % 2 :: 2]:
            changed = target = json.loads(text)
            for part in way[:-1]:
                target = target[part]
            target[way[-1]] = value
            with suppress(CkptkitError):
                api.execute(Plan.from_json(changed), source, tmp_path / "out", fsync=False)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert list(tmp_path.iterdir()) == []


def _ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document; of lists of many, to the first and the last."""
    yield way
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in items if len(items) < 8 or isinstance(value, dict) else (items[0], items[-1]):
        yield from _ways(inner, (*way, key))
