"""CK113 tied-head-contradiction, and its fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity
from ckptkit.checks.registry import fix, rule
from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.edits.changes import Edit, SetKey
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.names import TEXT_CONFIGS
from ckptkit.rules.files.copies import alike

_TIE = "tie_word_embeddings"


@rule(
    "CK113",
    "tied-head-contradiction",
    Severity.WARNING,
    reports=(
        "vllm-project/vllm#51063",
        "vllm-project/vllm#6758",
        "vllm-project/llm-compressor#2798",
        "neuralmagic/AutoFP8#31",
    ),
)
def tied_head_contradiction(context: Context) -> Iterator[Fault]:
    """``tie_word_embeddings`` says one thing about the output head and the tensors or another level say the other.

    Why it hurts: with the flag set, engines drop a stored head or stop at its name; with the flag cleared and no
    head stored, transformers makes one up from random numbers.

    Example: ``tie_word_embeddings: true`` beside a stored ``lm_head.weight`` that was fine-tuned.

    Fix: clear the flag on every level of the config, or drop a head that is bit for bit the embedding.
    """
    flags = dict(_tie_flags(context.config))
    tensors = context.container.tensors
    head = next(
        (name for name in (names.LM_HEAD, "language_model.lm_head", "model.lm_head") if f"{name}.weight" in tensors),
        None,
    )
    if len(set(flags.values())) > 1:
        found = ", ".join(f"{path} = {str(value).lower()}" for path, value in flags.items())
        # Which level an engine asks hangs on the class; where that says what the tensors say, nothing happens.
        right, stored = flags.get(_TIE) == (head is None), "/stored" * (head is not None)
        yield Observation(
            "tie-flags-differ",
            "levels of the config disagree",
            "config.json",
            None,
            "one value",
            found,
            variant=f"levels/{'outer' if right else 'inner'}-right{stored}",
        )
        return
    if not flags:
        return
    tied = next(iter(flags.values()))
    path = next(iter(flags))
    if tied and head is not None:
        tensor = tensors[f"{head}.weight"]
        message = "the head is stored although the config ties it to the embedding"
        expected = f"{path} = false, or no head"
        tables = [other for name, other in tensors.items() if name.endswith("embed_tokens.weight")]
        same = len(tables) == 1 and alike(context.container, tensor, tables[0])
        quantized = "/quantized" * (tensor.dtype == FP8_WEIGHT and all(t.dtype != FP8_WEIGHT for t in tables))
        variant = "head-same" if same else f"head-stored{quantized}"
        yield Observation("tie-head-stored", message, tensor.shard, tensor.name, expected, "both", variant=variant)
    causal = (context.dimensions.architecture or "").endswith("ForCausalLM")
    embedded = any(name.endswith("embed_tokens.weight") for name in tensors)
    if not tied and head is None and causal and embedded:
        message = "the config says that the head is not tied, but none is stored"
        yield Fault("tie-head-missing", message, "config.json", None, f"lm_head.weight, or {path} = true", "no head")


def _tie_flags(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for path, level in (("", config), *((f"{key}.", config.get(key)) for key in TEXT_CONFIGS)):
        if isinstance(level, Mapping) and isinstance(level.get(_TIE), bool):
            yield f"{path}{_TIE}", level[_TIE]


@fix("safe", "CK113")
def clear_tie_flag(context: Context, finding: Finding) -> Iterator[Edit]:
    """Say on every level what the tensors say: a stored head is not tied.

    Where no head is stored although the flag says so, one may have been lost; that is not decided here.
    """
    stored = any(names.last_part(tensor.module) == names.LM_HEAD for tensor in context.container.tensors.values())
    levels: list[tuple[str, ...]] = [
        way
        for way in ((), *((key,) for key in TEXT_CONFIGS))
        if isinstance(level := _level(context.container.config, way), Mapping) and isinstance(level.get(_TIE), bool)
    ]
    flags = {bool((_level(context.container.config, way) or {})[_TIE]) for way in levels}
    if stored or len(flags) > 1:
        yield from (SetKey((*way, _TIE), not stored) for way in levels)


def _level(config: Mapping[str, object], way: tuple[str, ...]) -> Mapping[str, object] | None:
    level: object = config
    for part in way:
        level = level.get(part) if isinstance(level, Mapping) else None
    return level if isinstance(level, Mapping) else None
