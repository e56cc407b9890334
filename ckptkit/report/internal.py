"""What a user sees of a defect of ours: no traceback, but all that it takes to find the defect."""

from __future__ import annotations

import platform
import re
import shlex
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckptkit import __version__
from ckptkit.errors import CkptkitError, Fault, printable

_HOME = Path(__file__).parents[1]
_REPORT = "https://github.com/ckptkit/ckptkit/issues"
#: What may be a secret in a message or a command: tokens of the Hub, and the queries of signed addresses.
_SECRET = re.compile(r"hf_[A-Za-z0-9]{4,}|(?<=\?)\S+|(?<=://)[^/\s@]+@")
#: The innermost calls that are named.
_CALLS = 8


def internal_error(error: BaseException, arguments: Sequence[str]) -> CkptkitError:
    """The error to show for an exception that is not ours, with what to send."""
    if isinstance(error, MemoryError):
        return CkptkitError("there is not enough memory", help="look at fewer checkpoints at once, or a lower --level")
    said = _without_secrets(" ".join(str(error).split())[:300])
    faults = [
        Fault("internal", f"ckptkit {__version__}, Python {platform.python_version()}, {platform.platform()}"),
        Fault("internal", f"command: ckptkit {_without_secrets(shlex.join(arguments))}"),
        Fault("internal", f"at {' < '.join(_calls(error))}"),
    ]
    message = f"this is a defect of ckptkit, and not of your files: {type(error).__name__}"
    help_text = f"please send these lines, and the file that it happened with if you can, to {_REPORT}"
    return CkptkitError(f"{message}: {said}" if said else message, faults=faults, help=help_text)


def _calls(error: BaseException) -> Iterator[str]:
    """Our own functions on the way to the error, the innermost first."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _HOME in Path(frame.filename).parents]
    for frame in reversed(frames[-_CALLS:]):
        yield f"{Path(frame.filename).relative_to(_HOME)}:{frame.lineno} {frame.name}"


def _without_secrets(text: str) -> str:
    return _SECRET.sub("***", printable(text))
