"""Checkpoints that verdicts were given on before any engine had seen one: what the data was not mended on."""

from __future__ import annotations

from tests.accuracy.held.common import OWN, Held
from tests.accuracy.held.configs import CONFIGS
from tests.accuracy.held.lists import LISTS
from tests.accuracy.held.models import MODELS
from tests.accuracy.held.scales import SCALES

__all__ = ["HELD", "OWN", "Held"]

HELD = (*LISTS, *CONFIGS, *SCALES, *MODELS)
