"""``hf ckptkit ...``: making a ckptkit that pip installed known to the hub library's own command.

``hf`` looks for extensions in ``~/.local/share/hf/extensions/hf-<name>/manifest.json``, which names an executable.
``hf extensions install OWNER/hf-ckptkit`` writes one after fetching a repository from GitHub; this writes one that
points at the ``hf-ckptkit`` script of the environment that is already here.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

from ckptkit.errors import OutputError, UsageError
from ckptkit.storage.beside import clear_beside, write_beside

NAME = "ckptkit"
_SCRIPT = "hf-ckptkit"
_LATEST = ".latest_commit"


def folder() -> Path:
    """Where ``hf`` looks for this extension."""
    return Path("~/.local/share/hf/extensions").expanduser() / _SCRIPT


def register() -> Path:
    """Make ``hf ckptkit`` run this installation; the manifest that was written."""
    beside = Path(sys.executable).parent / _SCRIPT
    found = beside if beside.is_file() else shutil.which(_SCRIPT)
    if found is None:
        raise UsageError(f"the script {_SCRIPT} is not installed", help="install ckptkit with pip in this environment")
    manifest = {
        "owner": "ckptkit",
        "repo": _SCRIPT,
        "repo_id": f"ckptkit/{_SCRIPT}",
        "short_name": NAME,
        "executable_path": str(found),
        "type": "python",
        "installed_at": datetime.now(timezone.utc).isoformat(),
        "description": "Convert and validate FP8 checkpoints without loading them",
        "commit_sha": None,
    }
    target = folder() / "manifest.json"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # hf compares this file with GitHub at most once a day; an empty one says that there is nothing newer to offer.
        write_beside(target.parent / _LATEST, b"")
        write_beside(target, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def unregister() -> Path:
    """Forget the extension again."""
    place = folder()
    ours = [place / name for name in ("manifest.json", _LATEST)]
    try:
        # A registration, or a removal, that was killed leaves some of it.
        found = [clear_beside(path) for path in ours] + [path.is_file() for path in ours]
        for path in ours:
            path.unlink(missing_ok=True)
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
            found.append(True)
    except OSError as error:
        raise OutputError(f"{place} cannot be removed: {error.strerror or error}") from error
    if not any(found):
        raise UsageError("hf does not know ckptkit", help="there is nothing to remove")
    return place
