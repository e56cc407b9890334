"""A load that never ends is an answer too."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .common import Answer

#: Seconds of the processor, so that a machine that is busy with other work changes no answer.
SECONDS = 60
#: What only waits is given up after so many times as long by the clock.
WAITING = 10
Examine = Callable[[Path, Mapping[str, Any]], Answer]


class NoAnswerError(Exception):
    """The library did not come back in time."""


def patient(examine: Examine, seconds: int = SECONDS) -> Examine:
    """The same question, given up after so many seconds; matching a regular expression can be interrupted too."""

    def give_up(*_: object) -> None:
        raise NoAnswerError(f"no answer in {seconds} seconds")

    def ask(folder: Path, options: Mapping[str, Any]) -> Answer:
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, give_up)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(WAITING * seconds)
        try:
            return examine(folder, options)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)

    return ask
