"""CK623 method-unknown."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.config_keys import keys_of, said
from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.methods import (
    ALGORITHMS,
    HYPHENATED,
    LOWER_CASE,
    NESTED_ALGORITHMS,
    OTHER_ALGORITHMS,
    PRODUCERS,
)
from ckptkit.engines.registry import label_of
from ckptkit.errors import Fault, excerpt
from ckptkit.storage.container import CONFIG_FILE


@rule(
    "CK623",
    "method-unknown",
    Severity.ERROR,
    reports=(
        "vllm-project/vllm#30938",
        "sgl-project/sglang#15468",
        "NVIDIA/TensorRT-LLM#18664",
        "vllm-project/vllm#54367",
    ),
)
def method_unknown(context: Context) -> Iterator[Fault]:
    """The name of the quantization method or algorithm is one that engines do not know.

    Why it hurts: engines stop at the name although they support the layout, or build the layer unquantized. In the
    nested layout of ModelOpt, or its second file alone, vLLM knows fewer algorithms, and sees no quantization where the
    producer is another and no method is named.

    Example: ``quant_method: compressed-tensor``, ``compressed_tensors`` (which vLLM takes and SGLang refuses),
    or ``quant_algo: FP8_BLOCKWISE`` in a ModelOpt config.

    Fix: write the name that the layout has elsewhere.
    """
    yield from _nested(context)
    if context.located is None:
        return
    section, file = context.section, context.section.file
    path = context.located.path
    written = context.block.get("quant_method")
    # A format with a reader knows its own; an exporter's own layout, in a section or a file, names its producer.
    unnamed = written is None and section.way == context.located.way and file == CONFIG_FILE
    unnamed = unnamed and (context.has_reader or not context.is_known_method)
    if unnamed or not (context.has_reader or context.is_known_method):
        missing = "no quant_method" if written is None else "no engine that was examined knows this quant_method"
        fault = Fault("method-unknown", missing, CONFIG_FILE, None, f"a known {path}.quant_method", excerpt(written))
        yield Observation.of(fault, variant=None if written else "missing")
    elif context.method == HYPHENATED != written:
        case = isinstance(written, str) and written.lower() == HYPHENATED
        yield _spelled(f"{path}.quant_method", HYPHENATED, written, "case" if case else "spelling")
    elif isinstance(written, str) and written != written.lower():
        yield _spelled(f"{path}.quant_method", written.lower(), written, "case")
    key, place = section.keys.algorithm, ".".join(map(str, section.way))
    algorithm = said(context, key)
    word = algorithm.upper() if isinstance(algorithm, str) else None
    strange = [label_of(engine) for engine, taken in ALGORITHMS.items() if word is not None and word not in taken]
    if strange:
        known = word in OTHER_ALGORITHMS
        yield Observation(
            "algorithm-unknown",
            f"{' and '.join(strange)} does not know this {key}"
            if known
            else f"no engine that was examined knows this {key}",
            file,
            expected=f"a {place}.{key} such as FP8",
            found=excerpt(algorithm),
            variant="algorithm",
            severity=Severity.WARNING if known else Severity.ERROR,
        )
    elif word is not None and algorithm not in {word, *LOWER_CASE}:
        yield _spelled(f"{place}.{key}", word, algorithm, "algorithm-spelling", file)


def _nested(context: Context) -> Iterator[Observation]:
    """What engines do not take of a config in the exporter's own layout, in config.json or a file of its own."""
    keys, block = keys_of(context), context.block
    section = block.get(keys.nested) if keys.nested is not None else None
    if not isinstance(section, dict) or keys.algorithm is None:
        return
    maker = block.get(keys.producer) if keys.producer is not None else None
    name = maker.get("name") if isinstance(maker, dict) else None
    algorithm = section.get(keys.algorithm)
    for engine, taken in NESTED_ALGORITHMS.items():
        wanted = PRODUCERS[engine]
        unknown = name == wanted and isinstance(algorithm, str) and algorithm.upper() not in taken
        if unknown or (name != wanted and block.get("quant_method") is None):
            message = f"does not know this {keys.algorithm} in a {keys.nested} section"
            yield Observation(
                "algorithm-unknown",
                f"{label_of(engine)} {message if unknown else 'sees no quantization in a section of another producer'}",
                context.section.file,
                expected=f"one of {', '.join(sorted(taken))}" if unknown else f"{keys.producer}.name = {wanted}",
                found=excerpt(algorithm if unknown else name),
                variant="nested-algorithm" if unknown else "nested-producer",
                severity=Severity.WARNING,
                only=frozenset({engine}),
            )


def _spelled(key: str, wanted: str, written: object, variant: str, file: str = CONFIG_FILE) -> Observation:
    message = "the name is spelled otherwise than engines spell it"
    found = excerpt(written)
    return Observation(
        "method-spelling",
        message,
        file,
        expected=f"{key} = {wanted}",
        found=found,
        variant=variant,
        severity=Severity.WARNING,
    )
