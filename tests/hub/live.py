"""The opt-in check against the real Hub; no test runs it there.

    python -m tests.hub.live neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8
    python -m tests.hub.live neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8 --write YOU/scratch

The first reads a public repository and holds it to the budget of the tests. With ``--write`` a tiny checkpoint is
uploaded to a private repository of yours, proven, offered once more as a pull request, and a broken one is refused;
the repository is left for you to look at and delete. The login is that of ``hf auth login``, the Hub that of
``HF_ENDPOINT``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from ckptkit import api
from ckptkit.errors import UploadRefused
from ckptkit.hub.expect import differences
from ckptkit.hub.upload import upload
from tests.hub.unfit import SOUND, broken_copy

BUDGET = 1_000_000


def read(repo: str) -> None:
    """Validate and inspect a repository by its headers, and compare the traffic with the budget."""
    report = api.validate(f"hf://{repo}")
    summary = api.inspect(f"hf://{repo}")
    print(f"{report.label}: {summary.scheme}, {summary.data_bytes / 1e9:.2f} GB, {report.counts}, {report.traffic}")
    if report.traffic is None or report.traffic.nbytes > BUDGET:
        raise SystemExit(f"over the budget of {BUDGET:,} bytes")


def write(repo: str) -> None:
    """Upload, prove, open a pull request, and be refused."""
    done = upload(SOUND, repo, private=True)
    container = api.open_files(done.proof)
    faults = differences(container, SOUND)
    print(f"uploaded: {done.url}, {len(faults)} differences, {container.source.traffic}")
    offered = upload(SOUND.with_name("llmcompressor-fp8"), repo, create_pr=True)
    print(f"offered: {offered.pull_request}")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            upload(broken_copy(Path(scratch) / "model"), repo)
        except UploadRefused as error:
            print(f"refused: {error.message}")
        else:
            raise SystemExit("a broken checkpoint was uploaded")
    if faults:
        raise SystemExit("\n".join(str(fault) for fault in faults))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", help="a public FP8 repository, to read")
    parser.add_argument("--write", metavar="REPO", help="a repository of yours, to write")
    arguments = parser.parse_args()
    read(arguments.repo)
    if arguments.write:
        write(arguments.write)


if __name__ == "__main__":
    main()
