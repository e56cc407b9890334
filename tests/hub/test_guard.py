"""The guard: every way out of the hub library, and what passes."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptkit.hub
from ckptkit.errors import UploadRefused
from ckptkit.hub import guard
from tests.damage import SHARDED, load
from tests.hub.conftest import REAL
from tests.hub.server import FakeHub
from tests.hub.store import Blob
from tests.hub.unfit import BREAKS, SOUND, broken_copy, cut_shard, infinite_scale, no_quantization_config, sound_copy

SHARD = "model.safetensors"
Way = Callable[[Any, Path], object]


@pytest.fixture(autouse=True)
def repository(login: FakeHub) -> FakeHub:
    login.add("org/model", {"README.md": Blob(b"# model\n")})
    return login


def folder(api: Any, path: Path) -> object:
    return api.upload_folder(repo_id="org/model", folder_path=path)


def subfolder(api: Any, path: Path) -> object:
    return api.upload_folder(repo_id="org/model", folder_path=str(path), path_in_repo="fp8", commit_message="up")


def one_file(api: Any, path: Path) -> object:
    return api.upload_file(path_or_fileobj=path / SHARD, path_in_repo=SHARD, repo_id="org/model")


def one_open_file(api: Any, path: Path) -> object:
    return api.upload_file(
        path_or_fileobj=io.BytesIO((path / SHARD).read_bytes()), path_in_repo=SHARD, repo_id="org/model"
    )


def operations(api: Any, path: Path) -> object:
    from huggingface_hub import CommitOperationAdd

    added = (CommitOperationAdd(file.name, str(file)) for file in path.iterdir())
    return api.create_commit("org/model", added, commit_message="up")


def operations_in_memory(api: Any, path: Path) -> object:
    from huggingface_hub import CommitOperationAdd

    added = [CommitOperationAdd(f"fp8/{file.name}", file.read_bytes()) for file in path.iterdir()]
    return api.create_commit(repo_id="org/model", operations=added, commit_message="up", create_pr=True)


def large_files_first(api: Any, path: Path) -> object:
    from huggingface_hub import CommitOperationAdd

    return api.preupload_lfs_files("org/model", [CommitOperationAdd(SHARD, str(path / SHARD))])


def in_the_background(api: Any, path: Path) -> object:
    return api.upload_folder(repo_id="org/model", folder_path=path, run_as_future=True).result()


WAYS = [
    *(folder, subfolder, one_file, operations, operations_in_memory, large_files_first, in_the_background),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_checkpoint_does_not_get_out(
    repository: FakeHub, tmp_path: Path, way: Way, how: Callable[[Path], None]
) -> None:
    path = broken_copy(tmp_path / "model", how)
    with pytest.raises(UploadRefused, match="nothing was sent") as caught:
        way(ckptkit.hub.GuardedHfApi(), path)
    assert caught.value.faults
    assert not repository.uploads


@pytest.mark.parametrize("way", [*WAYS, one_open_file])
def test_a_sound_checkpoint_does(repository: FakeHub, way: Way) -> None:
    way(ckptkit.hub.GuardedHfApi(), SOUND)
    assert repository.uploads


def test_bytes_alone_are_judged_by_their_header(repository: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(UploadRefused):
        one_open_file(ckptkit.hub.GuardedHfApi(), broken_copy(tmp_path / "model", cut_shard))
    assert not repository.uploads


# -- what is none of our business ------------------------------------------------------------------------------------


def test_other_things_pass(repository: FakeHub, tmp_path: Path) -> None:
    api = ckptkit.hub.GuardedHfApi()
    api.upload_folder(repo_id="org/model", folder_path=REAL / "llama" / "bf16")
    api.upload_file(path_or_fileobj=b"# card", path_in_repo="README.md", repo_id="org/model")
    config = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    other = sound_copy(tmp_path / "of-another-method")
    (other / "config.json").write_text(json.dumps(config))
    api.upload_folder(repo_id="org/model", folder_path=other)
    assert len(repository.repos["org/model"].commits) == 4


def test_a_damaged_shard_of_any_kind_does_not(repository: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / SHARD).write_bytes((REAL / "llama" / "bf16" / SHARD).read_bytes()[:-1000])
    with pytest.raises(UploadRefused):
        folder(ckptkit.hub.GuardedHfApi(), path)


def test_patterns_say_what_goes_out(repository: FakeHub, tmp_path: Path) -> None:
    path = broken_copy(tmp_path / "model", infinite_scale)
    api = ckptkit.hub.GuardedHfApi()
    api.upload_folder(repo_id="org/model", folder_path=path, allow_patterns="*.json")
    with pytest.raises(UploadRefused):
        api.upload_folder(repo_id="org/model", folder_path=path, ignore_patterns=["*.json"])


def test_one_shard_of_many_is_judged_with_its_siblings(repository: FakeHub, tmp_path: Path) -> None:
    checkpoint = load(SHARDED)
    path = checkpoint.write(tmp_path / "model")
    shards = sorted(file.name for file in path.glob("*.safetensors"))
    api = ckptkit.hub.GuardedHfApi()
    api.upload_file(path_or_fileobj=path / shards[0], path_in_repo=shards[0], repo_id="org/model")
    no_quantization_config(checkpoint)
    checkpoint.write(path)
    with pytest.raises(UploadRefused):
        api.upload_file(path_or_fileobj=path / shards[1], path_in_repo=shards[1], repo_id="org/model")


# -- the context manager ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_guarded_inside(repository: FakeHub, tmp_path: Path, way: Way) -> None:
    from huggingface_hub import HfApi

    path = broken_copy(tmp_path / "model", infinite_scale)
    with guard(), pytest.raises(UploadRefused):
        way(HfApi(), path)
    assert not repository.uploads
    way(HfApi(), path)
    assert repository.uploads


def test_the_xet_way_out_is_guarded_too(repository: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with guard(), pytest.raises(UploadRefused):
        folder(HfApi(), broken_copy(tmp_path / "model", infinite_scale))
    assert not repository.uploads


def test_functions_imported_before_and_after(repository: FakeHub, tmp_path: Path) -> None:
    import huggingface_hub
    from huggingface_hub import create_commit, hf_api, upload_folder

    path = broken_copy(tmp_path / "model", infinite_scale)
    library = types.ModuleType("some_library")
    library.send, library.commit = upload_folder, create_commit  # type: ignore[attr-defined]
    sys.modules["some_library"] = library
    try:
        with guard(), guard():
            from huggingface_hub import upload_folder as imported_inside

            for function in (imported_inside, library.send, huggingface_hub.upload_folder, hf_api.upload_folder):
                with pytest.raises(UploadRefused):
                    function(repo_id="org/model", folder_path=path)
            assert library.commit is not create_commit
        assert library.send is upload_folder
        assert library.commit is create_commit
        assert huggingface_hub.upload_folder is upload_folder
    finally:
        del sys.modules["some_library"]
    assert not repository.uploads


def test_nothing_is_patched_unless_entered() -> None:
    from huggingface_hub import HfApi

    before = dict(vars(HfApi))
    assert ckptkit.hub.GuardedHfApi().endpoint
    assert dict(vars(HfApi)) == before
    with guard():
        assert vars(HfApi)["upload_folder"] is not before["upload_folder"]
    assert dict(vars(HfApi)) == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the mixin's own temporary folder
def test_push_to_hub_of_a_model_class(repository: FakeHub, tmp_path: Path) -> None:
    """The mixin behind many libraries' push_to_hub; transformers' own goes through create_commit."""
    import shutil

    from huggingface_hub import ModelHubMixin

    class Model(ModelHubMixin):
        def __init__(self, made: Path) -> None:
            self.made = made

        def _save_pretrained(self, save_directory: Path) -> None:
            shutil.copytree(self.made, save_directory, dirs_exist_ok=True)

        def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
            self._save_pretrained(Path(save_directory))

    broken = broken_copy(tmp_path / "model", infinite_scale)

    @guard()
    def publish(model: Model) -> None:
        model.push_to_hub("org/model")

    before = len(repository.repos["org/model"].commits)
    with pytest.raises(UploadRefused):
        publish(Model(broken))
    sent = [entry for entry in repository.uploads if entry.path != "/api/repos/create"]
    assert not sent
    publish(Model(SOUND))
    assert len(repository.repos["org/model"].commits) == before + 1
