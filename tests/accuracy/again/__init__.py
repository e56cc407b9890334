"""A second set of held-out checkpoints: what the Hub has, on small models, and what people do to it by hand."""

from __future__ import annotations

from tests.accuracy.again.hands import HANDS
from tests.accuracy.again.hub import HUB
from tests.accuracy.again.rest import REST

__all__ = ["AGAIN"]

AGAIN = (*HUB, *HANDS, *REST)
