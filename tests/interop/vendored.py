"""Compare what is embedded in report pages with the packages that were published, or take it from them anew.

python tests/interop/vendored.py            # exit 1 and name every file that differs
python tests/interop/vendored.py --write    # take the version that vendor.json names, and note its digests
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "ckptkit" / "report" / "page" / "vendor"
MANIFEST = FOLDER / "vendor.json"


def published(package: str, version: str) -> bytes:
    """The archive of a package as npm serves it."""
    with TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        return archive.read_bytes()


def integrity(archive: bytes) -> str:
    """What npm's lock files call an archive's digest."""
    return f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode('ascii')}"


def compare(one: dict[str, Any], *, write: bool) -> list[str]:
    """What differs between a package and what is embedded of it; with ``write`` nothing does any more."""
    archive = published(one["package"], one["version"])
    wrong = [] if integrity(archive) == one["integrity"] else [f"{one['package']} {one['version']}: another archive"]
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for name, file in one["files"].items():
            stream = members.extractfile(file["from"])
            if stream is None:
                raise FileNotFoundError(file["from"])
            data = stream.read()
            digest = hashlib.sha256(data).hexdigest()
            if write:
                (FOLDER / name).write_bytes(data)
                file["sha256"] = digest
            elif (FOLDER / name).read_bytes() != data or file["sha256"] != digest:
                wrong.append(f"{name} is not what {one['package']} {one['version']} has")
    if write:
        one["integrity"] = integrity(archive)
    return [] if write else wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="take the files and digests from the package")
    write = parser.parse_args().write
    manifest: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    wrong = [fault for one in manifest.values() for fault in compare(one, write=write)]
    if write:
        MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for fault in wrong:
        print(fault)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
