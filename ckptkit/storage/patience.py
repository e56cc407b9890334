"""Waiting for a call that has no time limit of its own: the HTTP library's limits start anew with every byte."""

from __future__ import annotations

import queue
from collections.abc import Callable
from threading import Lock, Thread
from typing import TypeVar

Result = TypeVar("Result")


class OutOfTimeError(Exception):
    """The call has not come back; it is left to itself."""


def within(seconds: float, call: Callable[[], Result], dispose: Callable[[Result], object]) -> Result:
    """What ``call`` returns or raises, if it does so in time. What comes later is handed to ``dispose``.

    Raises OutOfTimeError. The call runs in a thread that keeps no program from ending.
    """
    answers: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()
    lock = Lock()
    given_up: list[bool] = []

    def work() -> None:
        result: Result | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failure = error
        with lock:
            if not given_up:
                answers.put((result, failure))
                return
        if result is not None:
            dispose(result)

    Thread(target=work, name="ckptkit-request", daemon=True).start()
    try:
        result, failure = answers.get(timeout=seconds)
    except BaseException as error:  # Ctrl-C too
        with lock:
            given_up.append(True)
        if not answers.empty() and (late := answers.get()[0]) is not None:
            dispose(late)
        if isinstance(error, queue.Empty):
            raise OutOfTimeError from None
        raise
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]
