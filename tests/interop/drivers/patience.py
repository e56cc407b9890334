"""A load that never ends is an answer too."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .common import Answer

SECONDS = 60
Examine = Callable[[Path, Mapping[str, Any]], Answer]


class NoAnswerError(Exception):
    """The library did not come back in time."""


def patient(examine: Examine, seconds: int = SECONDS) -> Examine:
    """The same question, given up after so many seconds; matching a regular expression can be interrupted too."""

    def give_up(*_: object) -> None:
        raise NoAnswerError(f"no answer in {seconds} seconds")

    def ask(folder: Path, options: Mapping[str, Any]) -> Answer:
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)
        try:
            return examine(folder, options)
        finally:
            signal.alarm(0)

    return ask
