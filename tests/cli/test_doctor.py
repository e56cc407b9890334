"""``ckptkit doctor``: what is there, what is absent, what is wrong; and never a token."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from ckptkit import doctor
from ckptkit.checks import schema
from ckptkit.doctor import State
from ckptkit.engines.registry import engines

from .conftest import Run

TOKEN = "hf_" + "x" * 34


def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine().checks}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What packages seem to be there; others are what they are."""
    pretended: dict[str, str | None] = {}
    real = metadata.version

    def version(package: str) -> str:
        if package not in pretended:
            return real(package)
        found = pretended[package]
        if found is None:
            raise metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(metadata, "version", version)
    return pretended


def test_it_says_what_there_is(run: Run) -> None:
    outcome = run("doctor")
    assert outcome.code == 0
    for word in ("versions", "extras", "GPU", "Hub", "engines", "shell", "numpy", "Python", "vLLM"):
        assert word in outcome.out


def test_the_json_fits_its_schema(run: Run) -> None:
    document = run("doctor", "--json").json
    assert schema.faults("doctor", document, file="doctor") == [] and document["healthy"] is True


def test_a_missing_package_is_wrong_and_a_missing_extra_is_not(run: Run, installed: dict[str, str | None]) -> None:
    installed["numba"] = None
    found = checks()["fast"]
    assert found.state is State.ABSENT and found.help == "pip install 'ckptkit-fp8[fast]'" and run("doctor").code == 0
    installed["rich"] = None
    assert checks()["rich"].state is State.WRONG
    outcome = run("doctor")
    assert outcome.code == 1 and "pip install rich" in outcome.out


def test_extras_are_those_of_the_project() -> None:
    brought = {
        (requirement.split(">=")[0], requirement.split("extra == ")[1].strip("'\""))
        for requirement in metadata.requires("ckptkit-fp8") or ()
        if "extra == " in requirement
    }
    told = {(package, extra) for extra, (packages, _) in doctor.EXTRAS.items() for package in packages}
    assert told == {(package, extra) for package, extra in brought if extra not in ("dev", "fuzz", "mutation", "site")}


def test_an_engine_is_compared_with_what_verdicts_are_for(installed: dict[str, str | None]) -> None:
    judged = engines()["vllm"].releases[0].version
    installed["vllm"] = judged
    assert checks()["vLLM"].found == f"{judged}, which verdicts are for"
    installed["vllm"] = "0.9.1"
    assert checks()["vLLM"].found.startswith("0.9.1, verdicts are for ")
    installed["vllm"] = None
    assert checks()["vLLM"].state is State.ABSENT


def test_a_token_is_never_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for arguments in (("doctor",), ("doctor", "--json")):
        out = run(*arguments).out
        assert "a token in HF_TOKEN" in out and TOKEN not in out and TOKEN[:8] not in out


@pytest.mark.parametrize(
    ("shell", "file", "text"),
    [
        ("bash", ".bashrc", 'eval "$(_CKPTKIT_COMPLETE=bash_source ckptkit)"\n'),
        ("zsh", ".zshrc", 'eval "$(_CKPTKIT_COMPLETE=zsh_source ckptkit)"\n'),
        ("fish", ".config/fish/completions/ckptkit.fish", "complete --command ckptkit\n"),
    ],
)
def test_completion_is_found_where_it_is_set_up(
    shell: str, file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    before = checks()["completion"]
    assert before.state is State.ABSENT and before.help.startswith(f"ckptkit completion {shell} >")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    after = checks()["completion"]
    assert after.state is State.OK and after.found == f"~/{file}"


def test_a_gpu_is_read_off_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    node = tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties"
    texts = {card: "Model: \t\t NVIDIA H100\nIRQ: 1\n", node: "cpu_cores_count 0\ngfx_target_version 90402\n"}
    for path, text in texts.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    real = Path

    def moved(*parts: str) -> Path:
        return real(*(str(tmp_path) + part if part.startswith(("/proc/", "/sys/")) else part for part in parts))

    monkeypatch.setattr(doctor, "Path", moved)
    (found,) = doctor._gpu()
    assert found.state is State.OK and found.found == "NVIDIA H100, AMD gfx942"


def test_another_tool_of_the_name_is_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def described(summary: str) -> Callable[[str], dict[str, str]]:
        return lambda package: {"Name": "ckptkit", "Version": "0.3.0", "Summary": summary}

    monkeypatch.setattr(metadata, "metadata", described("Inspect, convert, diff, and merge model checkpoints."))
    assert checks()["namesake"].state is State.WRONG
    outcome = run("doctor")
    assert outcome.code == 1 and "is another tool" in outcome.out and "pip uninstall ckptkit" in outcome.out
    monkeypatch.setattr(metadata, "metadata", described("Convert and validate FP8 LLM checkpoints"))
    assert "namesake" not in checks(), "an installation of ours from before it was renamed"
