"""These tests need torch and Triton: they run in the ``kernels`` environment, kernels in Triton's interpreter.

$(python tests/interop/environments.py kernels) -m pytest tests/kernels -p no:cacheprovider
"""

from __future__ import annotations

import importlib.util
import os

import pytest

os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported

# Without torch nothing here can even be collected; the tests that need none of it are elsewhere.
collect_ignore_glob = [] if importlib.util.find_spec("torch") and importlib.util.find_spec("triton") else ["*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Triton 3.6's interpreter turns arrays of one element into numbers, which numpy will forbid."""
    config.addinivalue_line("filterwarnings", "ignore:Conversion of an array with ndim > 0:DeprecationWarning")
