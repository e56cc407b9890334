"""Pages to test, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale
from ckptkit.page.document import Page
from ckptkit.page.gather import report_page
from tests.damage import load
from tests.report.test_hostile_reports import HOSTILE

REAL = Path(__file__).resolve().parents[2] / "fixtures" / "real"

#: A name that would end a script, an attribute and a comment, were it written into one.
NASTY = "</script><script>owned()</script><!--\"'><img src=x onerror=owned()>&amp;{{data}}${owned()}"


@pytest.fixture(scope="session")
def whole() -> Page:
    """A page with everything: every byte read, a base, the plan of a conversion."""
    folder = REAL / "llama"
    return report_page(folder / "quark-fp8-kv", folder / "bf16", level="full", to="ct", tensor_parallel=[1, 2, 8])


def write_hostile(folder: Path) -> Path:
    """A checkpoint in which everything that may be named badly is, and about which there are findings."""
    checkpoint = load("llama/llmcompressor-dynamic")
    checkpoint.config["architectures"] = [NASTY]
    checkpoint.block["ignore"] = [NASTY]
    for number, name in enumerate((NASTY, *(text for text in HOSTILE if text.isascii() or "\u202e" in text))):
        checkpoint.put(f"{name}.{number}.weight", "F8_E4M3", (2, 2), b"\0" * 4)
    checkpoint.change(r"model\..*\.weight_scale", lambda t: t._replace(shape=t.shape[:1]))
    return checkpoint.write(folder / "hostile")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report_page(write_hostile(tmp_path_factory.mktemp("hostile")), to="quark", isolated=True)


@pytest.fixture(scope="session")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """100,000 tensors of 2,000 kinds, every scale of which is zero."""
    return report_page(scale.million(tmp_path_factory.mktemp("huge") / "huge", 100_000))
