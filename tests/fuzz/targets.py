"""What is given bytes of a stranger, one function for each: the verdict in a word or two, or an error of ours.

Any other exception is a finding. Where there is a judge outside of us, a verdict that differs from its own is one too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ckptkit import api
from ckptkit.card.section import make
from ckptkit.checks import runner
from ckptkit.checks.registry import Level
from ckptkit.checks.settings import CHECKPOINT_FILE, load_layers
from ckptkit.conversion.planner import make_plan
from ckptkit.conversion.request import ConversionRequest
from ckptkit.errors import CkptkitError
from ckptkit.formats import registry
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.storage.container import open_container
from ckptkit.storage.index import INDEX_FILE, parse_index
from tests.damage import BLOCK, CT, CT_KV, QUARK_CUSTOM, QUARK_KV, REAL, load
from tests.fuzz.mutate import TEXTS, mutate_document, mutate_shard, mutate_text
from tests.raw import MemorySource
from tests.storage.official import official, ours

_FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Target(NamedTuple):
    """A reader: what it makes of bytes, how they are mutated, and sound inputs to begin with."""

    verdict: Callable[[bytes], str]
    mutate: Callable[..., bytes]
    seeds: Callable[[], list[bytes]]


def header(data: bytes) -> str:
    """A whole small shard, judged beside the official library."""
    found = ours(data)
    if found.readable != (official(data) is not None):
        raise AssertionError("the official library disagrees")
    return "reads" if found.readable else "refuses"


def index(data: bytes) -> str:
    """An index, without the shards that it names."""
    found, faults = parse_index(INDEX_FILE, data)
    return "refuses" if found is None else "reads, with faults" if faults else "reads"


def config(data: bytes) -> str:
    """A config.json beside a real export's shards: read, judged by every rule, planned into every format."""
    word = ""
    for fixture in (QUARK_KV, CT_KV) if len(data) % 2 else (BLOCK,):
        container = open_container(MemorySource({**_files(fixture), "config.json": data}))
        context = runner.read_context(container)
        runner.run(context, Level.SCALES)
        word = context.dialect.format if context.dialect is not None and context.checkpoint is not None else "no format"
        for form in registry.formats():
            try:
                container.raise_if_damaged()
                make_plan(context, ConversionRequest(target=form, allow_lossy=True))
            except CkptkitError:
                continue
    return word


def toml(data: bytes) -> str:
    """A settings file in a checkpoint's folder."""
    (_folder() / CHECKPOINT_FILE).write_bytes(data)
    return "reads" if load_layers(_folder(), start=_folder()) else "nothing"


def card(data: bytes) -> str:
    """A README.md with its front matter, which a card is to be written into."""
    (_folder() / "README.md").write_bytes(data)
    first = make(_checkpoint(), _folder())
    (_folder() / "README.md").write_bytes(first.after.encode())
    if make(_checkpoint(), _folder()).changed:
        raise AssertionError("a card that was just written is not up to date")
    return "reads"


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="ckptkit-fuzz-", dir=_FAST))


@cache
def _files(fixture: str) -> dict[str, bytes]:
    return load(fixture).to_files()


@cache
def _checkpoint() -> Checkpoint:
    return api.open(REAL / CT)


def _configs() -> list[bytes]:
    return [path.read_bytes() for path in sorted(REAL.glob("*/*/config.json"))]


def _shards() -> list[bytes]:
    from tests.raw import RawTensor, shard_bytes

    small = {"a.weight": RawTensor("F8_E4M3", (2, 4), bytes(8)), "a.weight_scale": RawTensor("BF16", (2, 1), bytes(4))}
    return [shard_bytes(small), shard_bytes(small, {"format": "pt"}), shard_bytes({}), shard_bytes({}, {})]


def _indexes() -> list[bytes]:
    return [b'{"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}', b"{}"]


TARGETS: dict[str, Target] = {
    "header": Target(header, mutate_shard, _shards),
    "index": Target(index, mutate_document, _indexes),
    "config": Target(config, mutate_document, lambda: [*_configs(), *map(_config, (QUARK_CUSTOM, BLOCK))]),
    "toml": Target(toml, mutate_text, lambda: [TEXTS[CHECKPOINT_FILE]]),
    "card": Target(card, mutate_text, lambda: [TEXTS["README.md"], b"# Model\n", b""]),
}


def _config(fixture: str) -> bytes:
    return _files(fixture)["config.json"]


def judged(target: str, data: bytes) -> str:
    """The verdict of a target: its own, or the kind of our error."""
    try:
        return TARGETS[target].verdict(data)
    except CkptkitError as error:
        return type(error).__name__
