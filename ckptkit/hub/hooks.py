"""Installing the git pre-push hook, and what it runs.

The hook judges what is pushed, not what lies in the work tree, and before git-lfs sends its first object. A hook
that was there before (git-lfs has one) is kept beside it and run afterwards.
"""

from __future__ import annotations

import filecmp
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ckptkit.errors import Fault, OutputError, UsageError
from ckptkit.hub.git import NO_COMMIT, GitRepository, Published, touches_checkpoint
from ckptkit.hub.outgoing import errors_in
from ckptkit.record import record
from ckptkit.storage.beside import clear_beside, keep_beside, write_beside

NAME = "pre-push"
CHAINED = "pre-push.before-ckptkit"
_MARK = "# Installed by ckptkit."
#: The mark is in the second line.
_MOST_SCRIPT_BYTES = 1 << 16

_SCRIPT = f"""\
#!/bin/sh
{_MARK} 'ckptkit hook uninstall' removes it and puts back the hook that was here before.
# Refuses to push a broken FP8 checkpoint; runs before git-lfs uploads anything. 'git push --no-verify' skips it.
refs=$(cat)
feed() {{ [ -z "$refs" ] || printf '%s\\n' "$refs"; }}
python=@PYTHON@
if [ ! -x "$python" ]; then
    echo "ckptkit is no longer installed at $python: run 'ckptkit hook install' again, or remove $0" >&2
    exit 1
fi
feed | "$python" -m ckptkit hook pre-push "$@" || exit 1
before="$(dirname "$0")/{CHAINED}"
if [ -x "$before" ]; then
    feed | "$before" "$@"
elif command -v git-lfs >/dev/null 2>&1; then
    # git-lfs does not install its own hook over another one.
    feed | git lfs pre-push "$@"
fi
"""


@record
class Judged:
    """What a hook found: where, errors, and shards whose content is not on this machine.

    ``folder`` is where the files of the errors lie on this machine, as far as it is known.
    """

    label: str
    errors: tuple[Fault, ...]
    unresolved: tuple[str, ...]
    folder: str


def install(path: Path) -> Path:
    """Put the hook into a clone, keeping an existing one by chaining; the file of the hook."""
    folder = GitRepository.at(path).hooks()
    hook, before = folder / NAME, folder / CHAINED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_beside(before)
        if os.path.lexists(hook) and not _is_ours(hook):
            if os.path.lexists(before) and not _is_kept(hook, before):
                help_text = f"merge {before} into {hook} by hand, and remove it"
                raise UsageError("another hook was installed over ours", help=help_text)
            if not os.path.lexists(before):
                keep_beside(hook, before)
        script = _SCRIPT.replace("@PYTHON@", shlex.quote(sys.executable))
        write_beside(hook, script.encode(), executable=True)
    except OSError as error:
        raise OutputError(f"{hook} cannot be written: {error.strerror or error}") from error
    return hook


def uninstall(path: Path) -> Path:
    """Remove the hook from a clone and put back the one that was there before; the file of the hook."""
    folder = GitRepository.at(path).hooks()
    hook, before = folder / NAME, folder / CHAINED
    try:
        ours = _is_ours(hook)
        left = [clear_beside(place) for place in (hook, before)]
        if not ours and _is_kept(hook, before):  # an install was killed before it wrote its own
            before.unlink()
        elif not ours and not any(left):
            raise UsageError(f"{hook} is not a hook of ckptkit", help="there is nothing to uninstall")
        elif ours and os.path.lexists(before):
            os.replace(before, hook)
        elif ours:
            hook.unlink()
    except OSError as error:
        raise OutputError(f"{hook} cannot be removed: {error.strerror or error}") from error
    return hook


def pre_push(repository: GitRepository, lines: Iterable[str]) -> Iterator[Judged]:
    """Judge each ref of a push. A line is ``<local ref> <local commit> <remote ref> <remote commit>``."""
    for line in lines:
        parts = line.split()
        if len(parts) != 4:
            continue
        local_ref, local, _, remote = parts
        if NO_COMMIT.match(local) or not touches_checkpoint(repository.changed(remote, local)):
            continue
        yield _verdict(repository.commit(local), local_ref.removeprefix("refs/heads/"), ".")


def check_files(files: Iterable[Path]) -> Iterator[Judged]:
    """Judge the checkpoints that these files of a work tree belong to, as pre-commit names them.

    Raises UsageError for a file that does not exist; pre-commit and git do not name files that a commit deletes.
    """
    files = list(files)
    missing = [str(file) for file in files if not os.path.lexists(file)]
    if missing:
        raise UsageError(f"{', '.join(missing)}: no such file", help="give files of a checkpoint in a git clone")
    for folder in sorted({file.parent for file in files}):
        where = os.path.relpath(folder)
        yield _verdict(GitRepository.at(folder).folder(folder), where, where)


def _verdict(published: Published, label: str, folder: str) -> Judged:
    return Judged(label, tuple(errors_in(published.contents, label)), published.unresolved, folder)


def _is_ours(hook: Path) -> bool:
    """Whether a hook is the script above; one that is not there, or is very long, is not."""
    try:
        with open(hook, "rb") as file:
            return _MARK.encode() in file.read(_MOST_SCRIPT_BYTES)
    except FileNotFoundError:
        return False


def _is_kept(hook: Path, before: Path) -> bool:
    """Whether an install that was killed has kept the hook under its second name already."""
    if not (os.path.lexists(hook) and os.path.lexists(before)):
        return False
    return os.path.samestat(hook.lstat(), before.lstat()) or (
        hook.is_file() and before.is_file() and filecmp.cmp(hook, before, shallow=False)
    )
