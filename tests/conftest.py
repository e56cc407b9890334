"""What all tests share: one hypothesis profile, and a checkpoint folder to fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from tests.raw import RawTensors, checkpoint_files, write_files

# A deadline measures the machine, not the code.
settings.register_profile("ckptkit", deadline=None)
# "make mutation" asks whether an example fails, not which is the smallest, and no mutant learns from another one.
settings.register_profile("mutation", deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
settings.load_profile("ckptkit")

WriteCheckpoint = Callable[..., Path]


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> WriteCheckpoint:
    """Write a checkpoint folder: ``write_checkpoint({shard: {tensor: (dtype, shape, bytes)}}, config, name)``."""

    def write(
        shards: Mapping[str, RawTensors], config: Mapping[str, Any] | None = None, name: str = "checkpoint"
    ) -> Path:
        return write_files(tmp_path / name, checkpoint_files(shards, config))

    return write
