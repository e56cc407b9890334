"""The order of calls that a power cut asks for: nothing gets its final name before it would survive one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.steps import Shim

#: Call -> which of its arguments is the file that it changes.
_CHANGES = {"open": 0, "write": 0, "pwrite": 0, "ftruncate": 0, "truncate": 0, "copy_file_range": 1, "sendfile": 0}
_SYNCS = ("fsync", "fdatasync")
_RENAMES = ("rename", "replace")


class Event(NamedTuple):
    """A call and the places that it is about, as absolute paths."""

    call: str
    places: tuple[str, ...]


@dataclass
class Recorder(Shim):
    """A shim that also notes the places of every call."""

    events: list[Event] = field(default_factory=list)

    def note(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        base = options.get("dir_fd", options.get("src_dir_fd"))
        wanted = arguments[: 2 if name in (*_RENAMES, "link", "symlink", "copy_file_range") else 1]
        self.events.append(Event(name, tuple(_place(argument, base) for argument in wanted)))


def _place(argument: Any, base: int | None) -> str:
    if isinstance(argument, int):
        return os.readlink(f"/proc/self/fd/{argument}")
    path = os.fspath(argument)
    return os.path.join(os.readlink(f"/proc/self/fd/{base}"), path) if base is not None else os.path.abspath(path)


def recorded(work: Callable[[], object]) -> list[Event]:
    """The calls of a piece of work."""
    recorder = Recorder()
    with recorder.installed():
        work()
    return recorder.events


def renames_of(events: Iterable[Event]) -> list[Event]:
    """Where something that this work has written gets its name."""
    written = {event.places[_CHANGES[event.call]] for event in events if event.call in _CHANGES}
    return [
        event
        for event in events
        if event.call in _RENAMES and any(_inside(place, event.places[0]) for place in written)
    ]


def breaches(events: Iterable[Event]) -> list[str]:
    """Renames of what was not durable, and names that were not made durable in the end."""
    unsynced: set[str] = set()
    folders: set[str] = set()
    named: set[str] = set()
    wrong = []
    for call, places in events:
        if call in _CHANGES:
            place = places[_CHANGES[call]]
            unsynced.add(place)
            if call == "open":
                folders.add(os.path.dirname(place))
        elif call == "mkdir":
            folders |= {os.path.dirname(places[0]), places[0]}
        elif call in _SYNCS:
            unsynced.discard(places[0])
            folders.discard(places[0])
            named = {place for place in named if os.path.dirname(place) != places[0]}
        elif call in ("unlink", "remove"):
            unsynced.discard(places[0])
        elif call in _RENAMES:
            old, new = places
            wrong += [f"{place} was not synced before {old} became {new}" for place in unsynced if _inside(place, old)]
            wrong += [f"folder {place} was not synced before" for place in folders if _inside(place, old)]
            named.add(new)
            named = {place for place in named if not _inside(place, old)}
    return wrong + [f"the folder of {place} was not synced afterwards" for place in sorted(named)]


def _inside(place: str, folder: str) -> bool:
    return Path(place).is_relative_to(folder)
