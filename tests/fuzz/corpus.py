"""The kept inputs: ``fixtures/hostile/corpus/TARGET.json``, each with the verdict that it got, minimised.

An input is kept if it reaches a line of ours that no shorter one reaches with the same verdict. A replay by the suite
then walks, in seconds, where a long run has been.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import ckptkit
from tests.fuzz.targets import judged

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "hostile" / "corpus"
#: Longer inputs are kept by no run: a corpus is something that people can look at.
LONGEST = 4_000
_OURS = str(Path(ckptkit.__file__).parent)


class Kept(NamedTuple):
    """An input and its verdict."""

    verdict: str
    data: bytes


def load(target: str) -> list[Kept]:
    """What is kept for a target."""
    file = FOLDER / f"{target}.json"
    return [_from_json(item) for item in json.loads(file.read_text("utf-8"))] if file.exists() else []


def save(target: str, kept: Iterable[Kept]) -> None:
    """Keep these, sorted, so that the file's differences are readable."""
    FOLDER.mkdir(exist_ok=True)
    lines = [json.dumps(_to_json(item)) for item in sorted(kept)]
    (FOLDER / f"{target}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


def minimised(target: str, inputs: Iterable[bytes]) -> Iterator[Kept]:
    """The inputs that are worth keeping, the shortest first."""
    seen: set[tuple[str, str, int]] = set()
    for data in sorted({data for data in inputs if len(data) <= LONGEST}, key=lambda data: (len(data), data)):
        verdict, lines = _traced(target, data)
        new = {(verdict, *line) for line in lines} - seen
        if new:
            seen |= new
            yield Kept(verdict, data)


def _traced(target: str, data: bytes) -> tuple[str, set[tuple[str, int]]]:
    """The verdict on an input, and the lines of ours that gave it."""
    lines: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return note

    sys.settrace(note)
    try:
        return judged(target, data), lines
    finally:
        sys.settrace(None)


def _to_json(item: Kept) -> dict[str, str]:
    try:
        text = item.data.decode("ascii")
    except UnicodeDecodeError:
        return {"verdict": item.verdict, "base64": base64.b64encode(item.data).decode()}
    return {"verdict": item.verdict, "text": text}


def _from_json(item: dict[str, str]) -> Kept:
    data = item["text"].encode() if "text" in item else base64.b64decode(item["base64"])
    return Kept(item["verdict"], data)
