"""Pictures of a report page for README.md and docs/report.md: taken by a command, and checked without a browser.

python docs/pictures.py            # take them, in headless Chromium
python docs/pictures.py --check    # exit 1 if the page is not the one that they were taken of

Beside the pictures lies the digest of the page that they show. The page of the example is made anew for the check: of
the same checkpoint the same bytes, so that any change of what it says or how it looks is seen.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for tests.interop

from example import NAME, build  # noqa: E402

from ckptkit.page.gather import report_page  # noqa: E402
from ckptkit.report.html import to_html  # noqa: E402

FOLDER = HERE / "pictures"
DIGEST = FOLDER / "report.sha256"
SCRIPT = HERE / "pictures.mjs"


def page() -> str:
    """The page of the example, under its name alone: where it was built is not to be seen."""
    with TemporaryDirectory() as parent, _inside(Path(parent)):
        build(Path(NAME))
        return to_html(report_page(NAME, tensor_parallel=[1, 2, 4, 8]).to_json())


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def is_fresh() -> bool:
    """Whether the pictures were taken of the page as it is now."""
    return DIGEST.exists() and DIGEST.read_text(encoding="utf-8").strip() == digest(page())


def take() -> None:
    """Take the pictures."""
    from tests.interop import environments

    modules, chromium = environments.ensure("browser"), environments.ensure_chromium()
    text = page()
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(text, encoding="utf-8")
        subprocess.run(["node", str(SCRIPT), str(modules), str(chromium), str(file), str(FOLDER)], check=True)
    DIGEST.write_text(f"{digest(text)}\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, take nothing")
    if parser.parse_args().check:
        fresh = is_fresh()
        if not fresh:
            print("docs/pictures: out of date; run make pictures")
        return 0 if fresh else 1
    take()
    return 0


if __name__ == "__main__":
    sys.exit(main())
