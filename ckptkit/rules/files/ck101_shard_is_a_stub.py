"""CK101 shard-is-a-stub."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault


@rule(
    "CK101",
    "shard-is-a-stub",
    Severity.ERROR,
    reports=(
        "NVIDIA/TensorRT-LLM#2052",
        "huggingface/transformers#27923",
        "microsoft/OmniParser#34",
    ),
)
def shard_is_a_stub(context: Context) -> Iterator[Fault]:
    """A shard is a Git LFS pointer, a web page or an empty file, not a safetensors file.

    Why it hurts: loaders complain about a header that is too large, which points nowhere near the cause.

    Example: ``model-00001-of-00004.safetensors`` has 135 bytes and starts with ``version https://git-lfs``, because
    the clone was made without LFS. Or it begins with ``<!DOCTYPE html>``: the page on which a server asks for a login.

    Fix: ``git lfs pull``, or download the shard again.
    """
    yield from context.faults("lfs-pointer", "page-for-shard", "file-empty")
