"""Start drivers inside their environments and talk to them.

A driver process lives as long as the session: its imports take up to 17 seconds, its answers tenths of one. Answers
are remembered per folder content, so tests can ask freely and independently of one another.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import environments

HERE = Path(__file__).resolve().parent
TIMEOUT_SECONDS = 600
STDERR_LINES = 25

Answer = dict[str, Any]


class DriverError(RuntimeError):
    """A driver process died or did not answer in time; the message ends with its last stderr lines.

    A library that refuses a checkpoint is not this: that is an answer (see ``oracles.RefusedError``).
    """


class Driver:
    """One driver process in one environment, started at the first question.

    ``scratch`` takes what the process says on stderr, and is its folder for temporary files.
    """

    def __init__(self, environment: str, name: str, scratch: Path) -> None:
        self.environment = environment
        self.name = name
        self._scratch = scratch
        self._log = scratch / f"{environment}-{name}.log"
        self._process: subprocess.Popen[str] | None = None

    def ask(self, folders: Sequence[Path], options: Mapping[str, Any]) -> list[Answer]:
        """The driver's answers, one per folder, in order."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise DriverError(f"{self.name}: started without pipes")
        request = {"folders": [str(folder.resolve()) for folder in folders], "options": dict(options)}
        killer = threading.Timer(TIMEOUT_SECONDS, process.kill)
        killer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            killer.cancel()
        if not line:
            self.stop()
            raise DriverError(self._obituary(process.returncode, folders))
        answers: list[Answer] = json.loads(line)
        return answers

    def stop(self) -> None:
        """Let the driver see the end of its input and leave; the next question starts a new process."""
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        interpreter = environments.ensure(self.environment)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(interpreter), "-m", f"drivers.{self.name}"],
                cwd=HERE,
                env={**_inherited_environment(), "TMPDIR": str(self._scratch)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )

    def _obituary(self, code: int, folders: Sequence[Path]) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-STDERR_LINES:]
        names = ", ".join(folder.name for folder in folders)
        return "\n".join([f"driver {self.name} ({self.environment}) exited {code} on {names}; it last said:", *lines])


class Drivers:
    """All drivers of a session, with one memory of their answers."""

    def __init__(self) -> None:
        self._drivers: dict[tuple[str, str], Driver] = {}
        self._answers: dict[tuple[str, ...], Answer] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="ckptkit-interop-")

    def __enter__(self) -> Drivers:
        return self

    def __exit__(self, *_: object) -> None:
        for driver in self._drivers.values():
            driver.stop()
        self._scratch.cleanup()

    def run(self, environment: str, name: str, folders: Sequence[Path], **options: Any) -> list[Answer]:
        """Ask a driver about folders; those already asked about with the same options are not asked again."""
        question = (environment, name, json.dumps(options, sort_keys=True))
        keys = [(*question, _fingerprint(folder)) for folder in folders]
        unknown = {key: folder for key, folder in zip(keys, folders, strict=True) if key not in self._answers}
        if unknown:
            driver = self._drivers.get((environment, name))
            if driver is None:
                driver = self._drivers[environment, name] = Driver(environment, name, Path(self._scratch.name))
            answers = driver.ask(list(unknown.values()), options)
            self._answers.update(zip(unknown, answers, strict=True))
        return [self._answers[key] for key in keys]


def run_driver(environment: str, name: str, folders: Sequence[Path], **options: Any) -> list[Answer]:
    """One question to one driver process, for use outside a session."""
    with Drivers() as drivers:
        return drivers.run(environment, name, folders, **options)


def _inherited_environment() -> dict[str, str]:
    """Ours without what would leak our packages in; offline; one thread, so that sums have one order."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return {**kept, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def _fingerprint(folder: Path) -> str:
    """A folder's identity: its path, and the name, size and time of each file (tests rewrite folders in place)."""
    files = []
    for path in sorted(folder.iterdir()):
        status = path.stat()
        files.append((path.name, status.st_size, status.st_mtime_ns))
    return json.dumps([str(folder.resolve()), files])
