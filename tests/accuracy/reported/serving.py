"""What reports to serving engines are about."""

from __future__ import annotations

from tests.accuracy.held.common import Held

SERVING: tuple[Held, ...] = ()
