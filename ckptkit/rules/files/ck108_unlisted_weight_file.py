"""CK108 unlisted-weight-file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.prediction import is_mtp
from ckptkit.errors import Fault
from ckptkit.storage.container import read_headers

#: How file names of Mistral's own format begin.
_MISTRAL = "consolidated"
#: And those of adapters.
_ADAPTER = "adapter_"


def _unlisted(context: Context, fault: Fault) -> Observation:
    """The fault, with what the file holds beside the model's shards."""
    container = context.container
    entry = next(entry for entry in container.side_files if entry.name == fault.file)
    (header,) = read_headers(container.source, [entry])
    own = [name for name in header.tensors if name not in container.tensors]
    if not header.names_known:
        return Observation.of(fault)
    there = f"{len(own):,} in no shard of the model" if own else "all in the model's shards too"
    variant = None if own else "copies"
    if own and all(is_mtp(context.dimensions, name) for name in own):
        variant = "prediction"
    if entry.name.startswith(_MISTRAL):
        variant = "mistral"
    elif entry.name.startswith(_ADAPTER) and container.index is None:
        variant = "adapter"
    return Observation.of(replace(fault, found=f"tensors: {len(header.tensors):,}, {there}"), variant=variant)


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

    Why it hurts: vLLM, SGLang and transformers load what the index names, so that a tensor that only this file has is
    missing. TensorRT-LLM loads every file, so that it may take a second copy of a tensor for the model's. vLLM takes
    any file called ``consolidated*.safetensors`` for Mistral's own format: it loads that instead of the shards, and
    finds no weights when the file lies in a subfolder. An adapter's file beside a model without an index is loaded as
    a shard.

    Example: ``consolidated.safetensors`` beside ``model-00001-of-00002.safetensors``.

    Fix: move the file out of the folder, or name its tensors in the index. A conversion copies it as it is.
    """
    for fault in context.faults("shard-unlisted"):
        yield _unlisted(context, fault)
    for entry in context.container.side_files:
        folder, _, name = entry.name.rpartition("/")
        if folder and name.startswith(_MISTRAL) and name.endswith(".safetensors"):
            message = "the folder may be taken for one in Mistral's own format"
            help_text = "move it out of the folder"
            yield Observation(
                "shard-mistral", message, entry.name, None, "no such file", help=help_text, variant="mistral-below"
            )
