"""What an engine wants of single keys in config.json, by the type of the language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptkit.record import record


@record
class KeyDemand:
    """A key of a language model's config, and what is wrong with it where the load stops.

    ``like`` names another key that has to hold the same number; where it is missing it counts as ``unsaid``. A key that
    is ``text`` stops the load where it holds a number other than 0.
    """

    key: str
    like: str = ""
    unsaid: int = 0
    text: bool = False

    def broken_by(self, config: Mapping[str, Any]) -> str | None:
        """What stops the load, in words; None where nothing does.

        >>> KeyDemand("n_groups", like="mamba_n_groups", unsaid=8).broken_by({"n_groups": 1})
        'n_groups 1, and mamba_n_groups 8'
        >>> KeyDemand("pattern", text=True).broken_by({"pattern": "LLLG"})
        """
        value = config.get(self.key)
        if type(value) is not int:
            return None
        if self.text:
            return f"{self.key} {value}, which is no text" if value else None
        other = config.get(self.like, self.unsaid)
        return f"{self.key} {value}, and {self.like} {other}" if value != other else None
