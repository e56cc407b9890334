"""Fixtures for tests that ask real libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .environments import ROOT
from .oracles import Oracles
from .runner import Drivers

REAL = ROOT / "fixtures" / "real"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record",
        nargs="?",
        const="",
        default=None,
        metavar="CODES",
        help="write what engines are seen to do into their data; CODES, with commas, are rules to ask about anew",
    )


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> list[str] | None:
    """The rules to ask about anew while recording; None when data is compared and not written."""
    codes: str | None = request.config.getoption("--record", default=None)
    return None if codes is None else [code for code in codes.split(",") if code]


@pytest.fixture(scope="session")
def oracles() -> Iterator[Oracles]:
    """The real libraries. Each is started when first asked and lives until the session ends."""
    with Drivers() as drivers:
        yield Oracles(drivers)


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """The folder of a real export, as in ``real("llama/quark-ptpc")``."""

    def folder(name: str) -> Path:
        path = REAL / name
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"no such fixture: {path}")
        return path

    return folder
