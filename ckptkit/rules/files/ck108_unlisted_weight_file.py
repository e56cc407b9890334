"""CK108 unlisted-weight-file."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.errors import Fault

#: How file names of Mistral's own format begin.
_MISTRAL = "consolidated"


@rule(
    "CK108",
    "unlisted-weight-file",
    Severity.WARNING,
    reports=(
        "modelscope/ms-swift#7074",
        "Blaizzy/mlx-vlm#1464",
        "ggml-org/llama.cpp#8807",
    ),
)
def unlisted_weight_file(context: Context) -> Iterator[Fault]:
    """A safetensors file lies in the folder that is no part of the model.

    Why it hurts: a second set of weights is picked up by loaders that take every file matching a pattern. vLLM takes
    any file called ``consolidated*.safetensors`` for Mistral's own format: it loads that instead of the shards, and
    finds no weights when the file lies in a subfolder.

    Example: ``consolidated.safetensors`` beside ``model-00001-of-00002.safetensors``.

    Fix: move the file out of the folder.
    """
    yield from context.faults("shard-unlisted")
    shards = [header.shard for header in context.container.headers]
    others = [shard for shard in shards if not shard.startswith(_MISTRAL)]
    strays = [shard for shard in shards if shard.startswith(_MISTRAL)] if others else []
    for entry in context.container.side_files:
        folder, _, name = entry.name.rpartition("/")
        if folder and name.startswith(_MISTRAL) and name.endswith(".safetensors"):
            strays.append(entry.name)
    for name in strays:
        message = "vLLM takes the folder for one in Mistral's own format"
        yield Observation(
            "shard-mistral",
            message,
            name,
            None,
            "no such file",
            help="move it out of the folder",
            variant="mistral-below" if "/" in name else "mistral",
        )
