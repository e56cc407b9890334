"""What a power cut may do: every writing command in the order of its calls, see :mod:`tests.faults.order`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ckptkit.hub import hooks
from ckptkit.storage import writer
from tests.faults import walk_convert, walk_fix, walk_replace, walk_small
from tests.faults.one_thread import alone
from tests.faults.order import Event, breaches, recorded, renames_of

WORKS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "convert": walk_convert.to_ct,
    "convert, computed": walk_convert.to_bf16,
    "--fix to a copy": walk_convert.fixed_copy,
    "--fix in place": walk_fix.prepare,
    "files of a folder": walk_replace.prepare,
    "card": walk_small.before_card,
    "hook install": walk_small.before_install,
    "hook hf": walk_small.before_register,
}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Event]]:
    """The calls of one of the works, from one thread."""
    monkeypatch.setattr(writer, "_run", alone)
    monkeypatch.setattr(hooks, "GitRepository", SimpleNamespace(at=walk_small.no_git))
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(name: str) -> list[Event]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return recorded(WORKS[name](tmp_path))

    return call


@pytest.mark.parametrize("name", list(WORKS))
def test_nothing_gets_its_name_before_it_would_survive_a_power_cut(
    name: str, record: Callable[[str], list[Event]]
) -> None:
    events = record(name)
    assert renames_of(events) and breaches(events) == []


@pytest.mark.parametrize("name", list(WORKS))
def test_a_sync_less_is_noticed(name: str, record: Callable[[str], list[Event]], tmp_path: Path) -> None:
    """The test above can fail: without any one of the syncs of what is renamed, it does."""
    events = record(name)
    (*_, last) = renames_of(events)
    at = events.index(last)
    written = {place for event in events[:at] for place in event.places if Path(place).is_relative_to(last.places[0])}
    needed = [event for event in events if event.call == "fsync" and event.places[0] in written]
    assert needed
    for sync in needed:
        assert breaches([event for event in events if event != sync])


def test_the_place_of_a_new_folder_is_made_durable(record: Callable[[str], list[Event]], tmp_path: Path) -> None:
    events = record("convert")
    (rename,) = renames_of(events)
    assert rename.places[1] == os.path.realpath(tmp_path / "out")
    assert events[-1] == Event("fsync", (os.path.realpath(tmp_path),))
    assert breaches(events[:-1]) == [f"the folder of {rename.places[1]} was not synced afterwards"]
