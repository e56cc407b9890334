"""Which schemes engines have, by asking them: the verdicts of ``tests/engines/schemes.py`` against the real loaders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.damage import REAL, load
from tests.engines.schemes import REFUSES, SCHEMES, SILENT, Scheme

from .oracles import Oracles
from .test_rules import NO_EXPERT_KERNEL


def _write(scheme: Scheme, folder: Path) -> Path:
    """The fixture in another scheme, with the side files that loaders want."""
    checkpoint = load(scheme.base)
    scheme.change(checkpoint)
    checkpoint.write(folder)
    for path in (REAL / scheme.base).iterdir():
        if not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    return folder


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_engines_have_what_their_tables_say(engine: str, oracles: Oracles, tmp_path: Path) -> None:
    schemes = [scheme for scheme in SCHEMES if engine in scheme.verdicts]
    folders = [_write(scheme, tmp_path / scheme.name.replace(" ", "-")) for scheme in schemes]
    ask = oracles.vllm if engine == "vllm" else oracles.logits
    found = {}
    for scheme, reading in zip(schemes, ask(folders, refusals=True), strict=True):
        refused = reading.error is not None and NO_EXPERT_KERNEL not in reading.error.message
        unread = bool(getattr(reading, "unexpected_keys", ())) and scheme.verdicts[engine] == SILENT
        found[scheme.name] = REFUSES if refused else SILENT if unread else "loads"
    assert found == {scheme.name: scheme.verdicts[engine] for scheme in schemes}
