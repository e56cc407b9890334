"""Each attack meets the verdict that its table gives, quickly, and reads nothing outside its folder."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ckptkit.errors import ContainerError
from ckptkit.storage.container import Container, open_container
from ckptkit.storage.source import LocalSource
from fixtures.hostile.folders import FALSE_CACHE, FOLDER_ATTACKS, SECRET, FolderAttack
from fixtures.hostile.shards import SHARD_ATTACKS, ShardAttack, Verdict
from tests.storage.official import official, ours


@pytest.mark.parametrize("attack", SHARD_ATTACKS, ids=lambda attack: attack.name)
def test_a_hostile_shard_gets_the_official_verdict_with_reasons(attack: ShardAttack) -> None:
    assert (official(attack.file) is not None) == (attack.official is Verdict.READS)
    began = time.process_time()
    header = ours(attack.file)
    assert time.process_time() - began < 5
    assert header.readable == (attack.official is Verdict.READS)
    assert sorted(fault.kind for fault in header.faults) == sorted(attack.faults)
    for fault in header.faults:
        assert str(fault).isprintable()
        assert len(str(fault)) < 500


@pytest.mark.parametrize("attack", FOLDER_ATTACKS, ids=lambda attack: attack.name)
def test_a_hostile_folder_is_reported_and_stays_inside(attack: FolderAttack, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    attack.plant(folder)
    container = open_container(LocalSource(folder))
    assert sorted(fault.kind for fault in container.faults) == list(attack.faults)
    _cannot_reach_the_secret(container)


def test_the_layout_of_the_hub_cache_opens_no_way_out(tmp_path: Path) -> None:
    FALSE_CACHE.plant(tmp_path / "models--a--b")
    with pytest.raises(ContainerError, match="no safetensors files") as caught:
        open_container(LocalSource(tmp_path / "models--a--b" / "snapshots" / "main"))
    assert [fault.kind for fault in caught.value.faults] == list(FALSE_CACHE.faults)


def test_attack_names_are_unique() -> None:
    for attacks in (SHARD_ATTACKS, FOLDER_ATTACKS):
        names = [attack.name for attack in attacks]
        assert len(names) == len(set(names))


def _cannot_reach_the_secret(container: Container) -> None:
    assert not any(SECRET in entry.name for entry in container.source.files())
    for name in (f"../{SECRET}", f"sub/{SECRET}", "/etc/passwd"):
        with pytest.raises(ContainerError, match="not among the files"):
            container.source.read(name)
