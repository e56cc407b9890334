"""CK609 skip-lists-differ, and its fix."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.checks.skip_lists import engines_that_contradict
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.errors import Fault
from ckptkit.formats import registry
from ckptkit.formats.dialect import texts


@rule(
    "CK609",
    "skip-lists-differ",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#41457",
        "NVIDIA/TensorRT-LLM#17551",
    ),
)
def skip_lists_differ(context: Context) -> Iterator[Fault]:
    """The config has several skip lists under different keys, and they differ.

    Why it hurts: vLLM takes ``ignored_layers`` and looks at ``modules_to_not_convert`` only when that is empty;
    transformers and TensorRT-LLM do the reverse.

    Example: ``ignored_layers: ["lm_head"]`` beside ``modules_to_not_convert: ["lm_head", "model.layers.0.mlp.gate"]``.

    Fix: write one list under every key that some engine reads.
    """
    block = context.section.block
    keys = registry.skip_keys(context.dialect)
    lists = {key: frozenset(texts(block[key])) for key in keys if isinstance(block.get(key), list)}
    if len(set(lists.values())) > 1:
        found = "; ".join(f"{key}: {len(words)}" for key, words in lists.items())
        yield Observation(
            "skip-lists-differ",
            "skip lists under different keys differ",
            context.section.file,
            None,
            "one list",
            f"entries of {found}",
            only=engines_that_contradict(context),
        )


@fix("unsafe", "CK609")
def join_lists(context: Context, finding: Finding) -> Iterator[Edit]:
    """Write the union of the lists under each of their keys. Which list was meant is a guess."""
    section = context.section
    keys = [key for key in registry.skip_keys(context.dialect) if isinstance(section.block.get(key), list)]
    union = dict.fromkeys(entry for key in keys for entry in section.block[key])
    yield from (SetKey((*section.way, key), list(union), section.file) for key in keys)
