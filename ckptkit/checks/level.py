"""How much of a checkpoint is read. Commands that run no rules know this much of checks, and nothing else."""

from __future__ import annotations

from enum import IntEnum

from ckptkit.errors import UsageError, did_you_mean
from ckptkit.storage.source import Source


class Level(IntEnum):
    """How much is read: headers and JSON, or scale values too, or every byte of every weight."""

    HEADERS = 0
    SCALES = 1
    FULL = 2

    @classmethod
    def parse(cls, text: str) -> Level:
        """From a word of the command line."""
        try:
            return cls[text.upper()]
        except KeyError:
            words = [level.name.lower() for level in cls]
            help_text = did_you_mean(text, words, f"levels: {', '.join(words)}")
            raise UsageError(f"unknown level {text!r}", help=help_text) from None

    @classmethod
    def of(cls, asked: Level | str | None, default: Level) -> Level:
        """The level that is asked for, or the default. Raises UsageError as :meth:`parse` does."""
        if asked is None:
            return default
        return cls.parse(asked) if isinstance(asked, str) else asked


def default_level(source: Source) -> Level:
    """How much is checked unless somebody says: scale values too where reading them costs no traffic."""
    return Level.SCALES if source.traffic is None else Level.HEADERS
