"""``ckptkit upload``, ``--expect``, and refusal before the first byte."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ckptkit import api
from ckptkit.errors import RemoteError, SourceChanged, UploadRefused, UsageError
from ckptkit.hub import upload as uploading
from ckptkit.hub.expect import differences, with_differences
from ckptkit.hub.upload import upload
from tests.hub.conftest import Run
from tests.hub.replica import llama_8b
from tests.hub.server import TOKEN, FakeHub
from tests.hub.store import Blob
from tests.hub.unfit import BREAKS, SOUND, broken_copy, infinite_scale, sound_copy


def test_an_upload_and_its_proof(login: FakeHub) -> None:
    done = upload(SOUND, "org/model", private=True)
    repo = login.repos["org/model"]
    assert repo.private
    served = {name: blob.read(0, blob.size) for name, blob in repo.head().files.items() if name != ".gitattributes"}
    assert served == {path.name: path.read_bytes() for path in SOUND.iterdir()}
    container = api.open_files(done.proof)
    assert differences(container, SOUND) == []
    assert api.validate(done.proof).clean


def test_the_report_is_in_the_description(login: FakeHub) -> None:
    upload(SOUND, "org/model")
    commit = login.repos["org/model"].head()
    assert commit.message == "Upload compressed-tensors checkpoint with ckptkit"
    line, _, block = commit.description.partition("\n\n```json\n")
    assert "compressed-tensors (float-quantized), 0 error, 0 warning" in line
    document = json.loads(block.removesuffix("\n```\n"))
    assert document["counts"]["error"] == document["counts"]["warning"] == 0
    assert document["level"] == "scales"


def test_a_pull_request(login: FakeHub) -> None:
    repo = login.add("org/model", SOUND)
    before = repo.refs["refs/heads/main"]
    done = upload(SOUND.with_name("llmcompressor-fp8"), "org/model", create_pr=True, message="static scales")
    assert done.pull_request == f"{login.endpoint}/org/model/discussions/1"
    assert done.revision == "refs/pr/1"
    assert repo.refs["refs/heads/main"] == before
    assert repo.head("refs/pr/1").message == "static scales"
    assert api.validate("hf://org/model@refs/pr/1").clean


@pytest.mark.parametrize("options", [{}, {"revision": "fp8"}, {"create_pr": True}])
def test_what_is_there_already_is_not_uploaded(login: FakeHub, options: dict[str, Any]) -> None:
    first = upload(SOUND, "org/model")
    assert first.changed
    again = upload(SOUND, "org/model", **options)
    assert not again.changed
    assert again.commit == first.commit
    assert again.pull_request is None
    assert again.to_json()["changed"] is False
    assert differences(api.open_files(again.proof), SOUND) == []


def test_a_branch_is_made(login: FakeHub) -> None:
    login.add("org/model", {"README.md": Blob(b"# model\n")})
    upload(SOUND, "org/model", revision="fp8")
    assert "config.json" in login.repos["org/model"].head("fp8").files
    assert "config.json" not in login.repos["org/model"].head("main").files


def test_bookkeeping_stays_at_home(login: FakeHub, tmp_path: Path) -> None:
    folder = sound_copy(tmp_path / "model")
    for place in (".git/config", ".cache/huggingface/x", "sub/__pycache__/y.pyc"):
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_text("private")
    upload(folder, "org/model")
    assert set(login.repos["org/model"].head().files) == {path.name for path in SOUND.iterdir()} | {".gitattributes"}


@pytest.mark.parametrize("how", BREAKS)
def test_refusal_before_the_first_byte(login: FakeHub, tmp_path: Path, how: object) -> None:
    folder = broken_copy(tmp_path / "model", how)  # type: ignore[arg-type]
    with pytest.raises(UploadRefused, match="nothing was sent") as caught:
        upload(folder, "org/model")
    assert caught.value.faults
    assert login.log == []
    assert login.repos == {}


def test_force_needs_a_reason_that_lands_in_the_commit(login: FakeHub, tmp_path: Path) -> None:
    folder = broken_copy(tmp_path / "model", infinite_scale)
    with pytest.raises(UsageError, match="needs a reason"):
        upload(folder, "org/model", force="  ")
    assert login.log == []
    upload(folder, "org/model", force="reproducing\n issue 12")
    commit = login.repos["org/model"].head()
    assert commit.message.endswith("[forced: reproducing issue 12]")
    assert "CK502" in commit.description


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"repo": "model"}, "not the name of a repository"),
        ({"repo": "org/model", "create_pr": True, "revision": "fp8"}, "always against main"),
    ],
)
def test_requests_that_make_no_sense(login: FakeHub, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        upload(SOUND, **arguments)  # type: ignore[arg-type]
    assert login.log == []


def test_not_logged_in(hub: FakeHub) -> None:
    with pytest.raises(RemoteError, match="not logged in") as caught:
        upload(SOUND, "org/model")
    assert "hf auth login" in str(caught.value.help)


def test_no_server_at_all(login: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match=r"the Hub cannot be reached \(ConnectError\)") as caught:
        upload(SOUND, "org/model")
    assert "HF_ENDPOINT" in str(caught.value.help)


def test_offline_is_said_as_such(login: FakeHub, run: Run) -> None:
    done = run("ckptkit", "upload", SOUND, "org/model", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "upload to org/model: the hub library is in offline mode" in done.stderr
    assert "unset HF_HUB_OFFLINE" in done.stderr
    assert "network" not in done.stderr


def test_a_file_that_vanishes_is_no_fault_of_the_network(login: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    def gone(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "out/model.safetensors")

    monkeypatch.setattr(HfApi, "upload_folder", gone)
    with pytest.raises(RemoteError, match=r"out/model\.safetensors cannot be read: No such file"):
        upload(SOUND, "org/model")


def test_what_changes_while_it_is_sent_is_no_success(
    login: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent may not be what was checked."""
    folder = sound_copy(tmp_path / "model")
    send = uploading._send

    def sending(*arguments: Any) -> Any:
        (folder / "config.json").write_bytes((folder / "config.json").read_bytes() + b" ")
        return send(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(uploading, "_send", sending)
        with pytest.raises(SourceChanged, match=r"config\.json changed while it was uploaded"):
            upload(folder, "org/model")
    assert upload(folder, "org/model").commit


def test_storage_that_fails_is_one_error(login: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.utils._http as hub_library

    monkeypatch.setattr(hub_library.time, "sleep", lambda seconds: None)
    login.inject("/objects/batch", "status", times=100, status=500)
    with pytest.raises(RemoteError) as caught:
        upload(SOUND, "org/model")
    assert TOKEN not in str(caught.value)


# -- proof ---------------------------------------------------------------------------------------------------------


def kinds(login: FakeHub, folder: Path = SOUND) -> set[str]:
    return {fault.kind for fault in differences(api.open_files("hf://org/model"), folder)}


def test_another_shard_is_noticed(login: FakeHub, tmp_path: Path) -> None:
    login.add("org/model", broken_copy(tmp_path / "other", infinite_scale))
    assert kinds(login) == {"expect-hash"}


def test_another_config_is_noticed(login: FakeHub) -> None:
    repo = login.add("org/model", SOUND)
    config = (SOUND / "config.json").read_bytes().replace(b"SiLU", b"GELU").replace(b'"silu"', b'"gelu"')
    repo.commit({**repo.head().files, "config.json": Blob(config)})
    assert kinds(login) == {"expect-hash"}


def test_missing_extra_and_resized_files_are_noticed(login: FakeHub) -> None:
    repo = login.add("org/model", SOUND)
    files = dict(repo.head().files)
    del files["tokenizer.json"]
    files["config.json"] = Blob(files["config.json"].read(0, 1 << 20) + b"\n")
    files["consolidated.safetensors"] = Blob(b"\0" * 16, lfs=True)
    repo.commit(files)
    assert kinds(login) == {"expect-missing", "expect-size", "expect-extra"}


def test_a_mirror_that_serves_something_else_is_noticed(login: FakeHub) -> None:
    """The listing is right, the bytes are not: sizes and listed hashes alone would pass it."""
    repo = login.add("org/model", SOUND)
    shard = repo.head().files["model.safetensors"]
    data = bytearray(shard.read(0, shard.size))
    data[200] ^= 1
    other = Blob(bytes(data), lfs=True)
    shard.read = other.read  # type: ignore[method-assign]
    assert "expect-header" in kinds(login)


def test_what_a_mirror_announces_is_noticed(login: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    login.add("org/model", SOUND)
    monkeypatch.setattr(Blob, "etag", property(lambda blob: "0" * 64))
    assert kinds(login) == {"expect-etag"}


def test_differences_are_errors_of_the_report(login: FakeHub, tmp_path: Path) -> None:
    login.add("org/model", SOUND)
    container = api.open_files("hf://org/model")
    report = api.validate("hf://org/model")
    assert with_differences(report, container, SOUND).clean
    found = with_differences(report, container, broken_copy(tmp_path / "other", infinite_scale))
    new = [finding for finding in found.findings if finding not in report.findings]
    assert [(finding.code, finding.file) for finding in new] == [("CK199", "model.safetensors")]


def test_only_the_hub_can_prove_anything(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only a repository on the Hub"):
        differences(api.open_files(SOUND), SOUND)


# -- the command line ----------------------------------------------------------------------------------------------


def test_upload_and_expect_from_the_command_line(server: FakeHub, run: Run) -> None:
    done = run("ckptkit", "upload", SOUND, "org/model", "--json")
    assert done.returncode == 0, done.stderr
    location = json.loads(done.stdout)["location"]
    assert TOKEN not in done.stdout + done.stderr
    done = run("ckptkit", "validate", location, "--expect", SOUND)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run("ckptkit", "validate", location, "--expect", SOUND.with_name("llmcompressor-fp8"))
    assert done.returncode == 1
    assert "CK199" in done.stdout


def test_no_bars_where_nobody_watches(server: FakeHub, run: Run) -> None:
    """Standard error is a pipe here; --json wants none on a terminal either."""
    done = run("ckptkit", "upload", SOUND, "org/model")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    done = run("ckptkit", "upload", SOUND.with_name("llmcompressor-fp8"), "org/model", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_bars_are_drawn_again_afterwards(login: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, utils

    seen = []
    original = HfApi.upload_folder

    def watched(*arguments: Any, **options: Any) -> Any:
        seen.append(utils.are_progress_bars_disabled())
        return original(*arguments, **options)

    monkeypatch.setattr(HfApi, "upload_folder", watched)
    for bars in (False, True):
        upload(SOUND, "org/model", bars=bars)
        assert not utils.are_progress_bars_disabled()
    assert seen == [True, False]


def test_nothing_to_upload_from_the_command_line(server: FakeHub, run: Run) -> None:
    assert run("ckptkit", "upload", SOUND, "org/model").stdout.startswith("uploaded: ")
    done = run("ckptkit", "upload", SOUND, "org/model", "--create-pr")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing to upload: the repository holds these files already")
    assert "/discussions/" not in done.stdout


@pytest.mark.parametrize("place", ["hf://org/other", "org/other"])
def test_only_a_folder_here_is_uploaded(server: FakeHub, run: Run, place: str) -> None:
    done = run("ckptkit", "upload", place, "org/model")
    assert done.returncode == 2
    assert f"{place} is not a folder on this machine" in done.stderr
    assert server.log == []


def test_refusal_from_the_command_line(server: FakeHub, run: Run, tmp_path: Path) -> None:
    folder = broken_copy(tmp_path / "model", infinite_scale)
    done = run("ckptkit", "upload", folder, "org/model")
    assert done.returncode == 2
    assert "CK502" in done.stderr
    assert server.log == []
    done = run("ckptkit", "upload", folder, "org/model", "--force", "a test")
    assert done.returncode == 0, done.stderr
    assert server.repos["org/model"].head().message.endswith("[forced: a test]")


def test_what_hf_downloads_is_what_was_uploaded(server: FakeHub, run: Run, tmp_path: Path) -> None:
    assert run("ckptkit", "upload", SOUND, "org/model").returncode == 0
    done = run("hf", "download", "org/model", "--local-dir", tmp_path / "down")
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / "down" / path.name).read_bytes() == path.read_bytes() for path in SOUND.iterdir())


def test_the_opt_in_check_of_the_real_hub(server: FakeHub, run: Run) -> None:
    """What docs/hub.md tells people to run against the real Hub works against ours."""
    server.add("org/llama-8b", llama_8b("quark-fp8-kv"))
    root = Path(__file__).parents[2]
    done = run(sys.executable, "-m", "tests.hub.live", "org/llama-8b", "--write", "org/scratch", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differences" in done.stdout
    assert "refused" in done.stdout
