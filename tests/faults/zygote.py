"""``ckptkit``, imported once and forked for each run: what a run of a traced process takes is mostly imports.

Reads requests as lines of JSON (arguments, environment, files for its output, whether to wait for a tracer) and
answers each with the process's number, and when that has ended with its exit code, negative for a signal.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ckptkit
from ckptkit import api
from ckptkit.cli import main as command_line
from ckptkit.storage import writer
from tests.damage import QUARK, REAL
from tests.faults.one_thread import alone

ROOT = Path(__file__).resolve().parents[2]


def serve() -> None:
    """Answer requests until there are no more."""
    writer._run = alone  # type: ignore[assignment]
    for module in ("yaml", "jsonschema", "rich.console", "rich.table", "numpy"):
        importlib.import_module(module)
    for found in pkgutil.walk_packages(ckptkit.__path__, "ckptkit."):
        if found.name != "ckptkit.__main__":
            with suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(found.name)
    api.plan(REAL / QUARK, to="ct")
    api.validate(REAL / QUARK, isolated=False)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request)
        _say({"pid": child})
        _, status = os.waitpid(child, 0)
        _say({"code": os.waitstatus_to_exitcode(status)})


def _say(document: Mapping[str, int]) -> None:
    """Answer, in one write whatever buffers standard output: the child writes to it at the same time."""
    os.write(1, json.dumps(document).encode() + b"\n")


def _become(request: Mapping[str, Any]) -> None:
    """Run the command line in this process, and end it."""
    code = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        answers = os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, stream, name in ((1, sys.stdout, "out"), (2, sys.stderr, "err")):
            stream.flush()
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["ckptkit", *request["arguments"]]
        if request["gate"]:
            gate = os.open(request["gate"], os.O_RDONLY | os.O_NONBLOCK)
            os.write(answers, b'{"ready": 1}\n')
            select.select([gate], [], [])
        command_line.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)


class Zygote:
    """Starts the process above; use as a context manager."""

    def __enter__(self) -> Zygote:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._running = 0
        self._place = tempfile.TemporaryDirectory(prefix="ckptkit-zygote-")
        self._gate = f"{self._place.name}/gate"
        os.mkfifo(self._gate)
        return self

    def __exit__(self, *details: object) -> None:
        if details[0] is not None:
            for process in filter(None, (self._running, self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._process.communicate()
        self._place.cleanup()

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], *, wait: bool = False) -> int:
        """Begin a run; the number of its process, which does nothing before :meth:`go` if it is to ``wait``."""
        gate = self._gate if wait else ""
        request = {"arguments": list(arguments), "environment": dict(environment), "gate": gate}
        request |= {name: f"{self._place.name}/{name}" for name in ("out", "err")}
        if self._process.stdin is None:
            raise RuntimeError("no zygote")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answers = [self._answer() for _ in range(2 if wait else 1)]
        self._running = next(answer["pid"] for answer in answers if "pid" in answer)
        return self._running

    def go(self) -> None:
        """Let the process that waits begin."""
        with open(self._gate, "wb", buffering=0) as gate:
            gate.write(b"go")

    def end(self) -> tuple[int, str, str]:
        """Wait for the run: its exit code, negative for a signal, and what it said on standard error and output."""
        code, self._running = self._answer()["code"], 0
        said, shown = (Path(self._place.name, name).read_text(errors="replace") for name in ("err", "out"))
        return code, said, shown

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
        """A run from beginning to end."""
        self.start(arguments, environment)
        return self.end()

    def _answer(self) -> dict[str, int]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        answer: dict[str, int] = json.loads(line)
        return answer


if __name__ == "__main__":
    serve()
