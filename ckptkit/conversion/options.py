"""What a user asks of a conversion besides its target."""

from __future__ import annotations

from dataclasses import dataclass

from ckptkit.formats.base import WriteOptions
from ckptkit.model.checkpoint import Checkpoint


@dataclass(frozen=True)
class Options(WriteOptions):
    """Choices about a conversion: those that a writer sees, and those that are taken before it writes.

    ``modules`` are glob patterns of the modules that a change of values is for, empty for all of them.

    ``scheme`` names a preset of the target by which plain weights are quantized. ``skip`` are glob patterns of modules
    that stay as they are, besides those that every tool leaves alone; without ``default_skips`` these are quantized
    too. ``scales`` is a checkpoint of the same model, whose scales of inputs and of the KV cache are taken.
    """

    modules: tuple[str, ...] = ()
    scheme: str | None = None
    skip: tuple[str, ...] = ()
    default_skips: bool = True
    scales: Checkpoint | None = None
