"""What engines did, and what was said beforehand, as files that are kept: one line for each checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RECORDED = Path(__file__).with_name("recorded")
REFUSED, WRONG, RIGHT, UNTRIED = "refuses", "wrong", "right", "untried"


@dataclass(frozen=True)
class Seen:
    """What an engine did with a checkpoint: it ``refuses``, holds ``wrong`` numbers, or the ``right`` ones; and
    how. What could not be tried in its environment is ``untried``.

    ``digest`` is that of the checkpoint's files, ``said`` the verdict that we gave.
    """

    digest: str
    outcome: str
    words: str
    said: str = ""


@dataclass
class Record:
    """All that one release of an engine did. ``date`` is the day of the last load, ``bundles`` are the releases of
    libraries that it was run with."""

    engine: str
    version: str
    date: str = ""
    how: str = ""
    bundles: dict[str, str] = field(default_factory=dict)
    loads: dict[str, Seen] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file."""
        return RECORDED / f"{self.engine}-{self.version}.json"

    def write(self) -> None:
        """Write the file, a line for each load."""
        head = {"engine": self.engine, "version": self.version, "date": self.date, "how": self.how}
        head |= {"bundles": self.bundles}
        lines = [
            f"{json.dumps(name)}: {json.dumps([seen.digest, seen.outcome, seen.said, seen.words])}"
            for name, seen in sorted(self.loads.items())
        ]
        text = json.dumps(head)[:-1] + ', "loads": {\n' + ",\n".join(lines) + "\n}}\n"
        RECORDED.mkdir(exist_ok=True)
        self.path.write_text(text, encoding="utf-8")


def read(path: Path) -> Record:
    """A file that was written."""
    document = json.loads(path.read_text(encoding="utf-8"))
    loads = {name: Seen(row[0], row[1], row[3], row[2]) for name, row in document.pop("loads").items()}
    return Record(**document, loads=loads)


def records() -> list[Record]:
    """All files, by engine and release."""
    return [read(path) for path in sorted(RECORDED.glob("*.json"))]


def digest(files: Mapping[str, bytes]) -> str:
    """What tells checkpoints apart."""
    found = hashlib.sha256()
    for name, data in sorted(files.items()):
        found.update(f"{name}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:12]
