"""What reports to the tools that write and read checkpoints are about."""

from __future__ import annotations

from tests.accuracy.held.common import Held

TOOLS: tuple[Held, ...] = ()
