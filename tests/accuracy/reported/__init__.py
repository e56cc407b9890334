"""A third set of held-out checkpoints: what public reports tell, as small checkpoints, and near misses of these."""

from __future__ import annotations

from tests.accuracy.reported.serving import SERVING
from tests.accuracy.reported.tools import TOOLS

__all__ = ["REPORTED"]

REPORTED = (*SERVING, *TOOLS)
