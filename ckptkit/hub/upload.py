"""``ckptkit upload``: nothing leaves before the checkpoint has been found sound, and the report goes with it.

The report travels in the description of the commit (of the pull request, with ``create_pr``), not as a file: what
the Hub serves is then exactly the folder that was checked, and ``validate --expect`` can prove it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckptkit import __version__
from ckptkit.checks import runner
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import Level, way_to_fix
from ckptkit.checks.runner import Report
from ckptkit.errors import UploadRefused, UsageError, plural, printable
from ckptkit.hub.hub_errors import translated
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.container import open_container
from ckptkit.storage.file_state import FileState, source_changed
from ckptkit.storage.json_text import json_text
from ckptkit.storage.place import local_folder
from ckptkit.storage.source import BOOKKEEPING, LocalSource

#: Findings of a forced or imperfect checkpoint that are listed in the description; the rest is counted.
_LISTED = 30
_LONGEST_REASON = 200


@record(repr=False)
class Uploaded(Shown):
    """What the repository holds after an upload: the commit, the pull request if one was made, what was checked.

    When the repository held the files already, ``changed`` is false, ``commit`` is the one that holds them, and there
    is no pull request. ``files`` and ``nbytes`` count the folder, whatever of it was sent.
    """

    repo: str
    commit: str
    url: str
    pull_request: str | None
    revision: str
    changed: bool
    report: Report
    files: int
    nbytes: int

    def _look(self) -> Look:
        state = "uploaded" if self.changed else "there already"
        facts = [state, plural(self.files, "file"), f"{self.nbytes:,} bytes", f"revision {self.revision}"]
        rows = [("commit", self.commit), ("url", self.url), ("pull request", self.pull_request), ("proof", self.proof)]
        return Look(self.repo, facts, ("", ""), rows, len(rows))

    @property
    def proof(self) -> str:
        """The location to give to ``validate --expect``."""
        return f"hf://{self.repo}@{self.commit}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/upload.json``."""
        return {
            "repo": self.repo,
            "commit": self.commit,
            "url": self.url,
            "pull_request": self.pull_request,
            "revision": self.revision,
            "changed": self.changed,
            "files": self.files,
            "bytes": self.nbytes,
            "location": self.proof,
        }


def upload(
    path: str | os.PathLike[str],
    repo: str,
    *,
    create_pr: bool = False,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    force: str | None = None,
    bars: bool = False,
) -> Uploaded:
    """Validate a checkpoint and upload its folder; the repository and the branch are made if they do not exist.

    Raises UploadRefused, before anything is sent, when a rule finds an error and ``force`` gives no reason to
    upload all the same; RemoteError when the Hub refuses; SourceChanged when, with all sent, a file is not what was
    checked. An interrupted upload is taken up by calling again.
    ``bars`` lets the hub library draw its progress on standard error.
    """
    _check_request(repo, create_pr, revision, force)
    folder = local_folder(path)
    source = LocalSource(folder)
    report = runner.run(runner.read_context(open_container(source)), Level.SCALES)
    errors = [finding.to_fault() for finding in report.findings if finding.severity is Severity.ERROR]
    if errors and force is None:
        count = f"{len(errors)} error{'s' if len(errors) > 1 else ''}"
        message = f"{folder}: the checkpoint is broken ({count}); nothing was sent"
        forced = "'ckptkit upload --force REASON' sends it as it is, and writes the reason into the commit"
        ways = f"{way_to_fix((error.kind for error in errors), str(folder))}; {forced}"
        raise UploadRefused(message, faults=errors, help=ways)
    entries = source.files()
    title, text = _title(report, message, force), description(report)
    with translated(f"upload to {repo}"), _progress(bars):
        before, commit = _send(folder, repo, create_pr, private, revision, title, text)
    _require_unchanged(source)
    return Uploaded(
        repo=repo,
        commit=str(commit.oid),
        url=str(commit.commit_url),
        pull_request=commit.pr_url,
        revision=commit.pr_revision or revision or "main",
        changed=commit.oid != before,
        report=report,
        files=len(entries),
        nbytes=sum(entry.size for entry in entries),
    )


def _require_unchanged(source: LocalSource) -> None:
    """Raise SourceChanged if what was sent may be something else than what was checked."""
    for name, _ in source.files():
        path = source.local_path(name)
        if not path.exists() or FileState.of(path.stat()) != source.state(name):
            raise source_changed(path, "uploaded")


def _check_request(repo: str, create_pr: bool, revision: str | None, force: str | None) -> None:
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UsageError(f"{repo!r} is not the name of a repository", help="write org/repo")
    if create_pr and revision not in (None, "main"):
        raise UsageError("a pull request is always against main", help="drop --revision, or drop --create-pr")
    if force is not None and not force.strip():
        raise UsageError("--force needs a reason", help="say in a few words why a broken checkpoint is uploaded")


def _send(
    path: Path, repo: str, create_pr: bool, private: bool | None, revision: str | None, title: str, text: str
) -> tuple[str | None, Any]:
    """The commit before, and the hub library's account of the one after, which is the same if there was no news."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="ckptkit", library_version=__version__)
    api.create_repo(repo, private=private, exist_ok=True)
    before = _head(api, repo, revision)
    if before is None and revision is not None and not create_pr:
        api.create_branch(repo, branch=revision, exist_ok=True)
        before = _head(api, repo, revision)
    # With its Xet storage (the default) the hub library itself uploads folders of any size piece by piece, commits
    # in batches and resumes; there is no other method for large folders any more.
    commit = api.upload_folder(
        repo_id=repo,
        folder_path=path,
        commit_message=title,
        commit_description=text,
        revision=revision,
        create_pr=create_pr,
        ignore_patterns=[pattern for name in sorted(BOOKKEEPING) for pattern in (f"{name}/*", f"*/{name}/*")],
    )
    return before, commit


def _head(api: Any, repo: str, revision: str | None) -> str | None:
    """The commit at a revision; None when there is none."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        found: str | None = api.repo_info(repo, revision=revision).sha
    except RevisionNotFoundError:
        return None
    return found


@contextmanager
def _progress(wanted: bool) -> Iterator[None]:
    """Keep the hub library from drawing bars inside the block, unless they are wanted or its own variable says so."""
    import huggingface_hub.utils as library
    from huggingface_hub import constants

    disabled: bool = library.are_progress_bars_disabled()  # type: ignore[attr-defined]
    if wanted or disabled or constants.HF_HUB_DISABLE_PROGRESS_BARS is False:
        yield
        return
    library.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        library.enable_progress_bars()  # type: ignore[attr-defined]


def _title(report: Report, message: str | None, force: str | None) -> str:
    title = message or f"Upload {report.format or 'unrecognised'} checkpoint with ckptkit"
    if force is None:
        return title
    return f"{title} [forced: {' '.join(force.split())[:_LONGEST_REASON]}]"


def description(report: Report) -> str:
    """The report for a commit or a pull request: one line for people, then the document for programs."""
    counts = ", ".join(f"{count} {severity}" for severity, count in report.counts.items())
    what = printable(report.what)
    document = {
        "ckptkit": __version__,
        "format": report.format,
        "dialect": report.dialect,
        "level": report.level.name.lower(),
        "shards": report.shards,
        "tensors": report.tensors,
        "counts": report.counts,
        "findings": [finding.to_json() for finding in report.findings[:_LISTED]],
    }
    line = f"Checked by ckptkit {__version__} before upload, at level {report.level.name.lower()}: {what}, {counts}."
    return f"{line}\n\n```json\n{json_text(document)}\n```\n"
