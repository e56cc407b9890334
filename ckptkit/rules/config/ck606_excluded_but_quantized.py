"""CK606 excluded-but-quantized, and its fix."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Finding, Observation, Severity, StoredTensor
from ckptkit.checks.registry import fix, rule
from ckptkit.checks.skip_lists import engines_that_build, matchers_of, readings_of
from ckptkit.dtypes import FP8_WEIGHT
from ckptkit.edits.changes import Edit, RemoveItem
from ckptkit.engines.dimensions import ties_head
from ckptkit.engines.targets import targets_by_group
from ckptkit.errors import Fault
from ckptkit.model import names
from ckptkit.model.census import is_small
from ckptkit.model.scheme import Declared, OtherScheme
from ckptkit.rules.config.skip_entries import skip_lists

_FIRST_EXPERT = ".experts.0."
#: Quantizations of weights alone, to integers.
_INTEGERS = frozenset({"W4A16", "W8A16"})
#: Quantizations with a scale of the whole weight beside those of its groups.
_WITH_SECOND_SCALE = frozenset({"NVFP4", "NVFP4A16"})


@rule("CK606", "excluded-but-quantized", Severity.ERROR, reports=("vllm-project/compressed-tensors#712",))
def excluded_but_quantized(context: Context) -> Iterator[Fault]:
    """A weight is stored in FP8, but the config does not declare it quantized, or declares another quantization.

    Why it hurts: engines create no scale parameter for it: they stop at the scale's name, or load raw codes as
    values. Where the config declares another quantization they stop at the shapes of its scales.

    Example: ``model.layers.0.mlp.up_proj`` in the skip list, F8_E4M3 in the file.

    Fix: take the module out of the skip list, or add it to the targets.
    """
    matchers = matchers_of(context).values()

    undeclared = "untargeted" if targets_by_group(context.block) else "unspecified"

    def listed(module: str) -> bool:
        return any(matches(module) for matches in matchers)

    tied = ties_head(context.config)
    modules = context.checkpoint.modules if context.checkpoint else {}
    others = context.checkpoint.contradicted if context.checkpoint else {}

    # What has another name in memory is cast otherwise by those that know it by that name.
    by_memory = frozenset(name for name, reading in readings_of(context).items() if reading.names_in_memory)

    @cache
    def is_begun(expert: str) -> bool:
        return any(names.parent(module) == expert for module in modules)

    def variant(module: str) -> str | None:
        """What engines tell apart: a head that the config ties to the embedding, what no target means, and a part of
        the expert that they ask for all."""
        if tied and names.is_head(module):
            return "tied-head"
        if not listed(module):
            return undeclared
        return "part-of-expert" if _FIRST_EXPERT in module and is_begun(names.parent(module)) else None

    for tensor in context.checkpoint.stored_only if context.checkpoint else ():
        scheme = others.get(tensor.module)
        if scheme is not None:
            yield Observation(
                "excluded-but-quantized",
                "stored in FP8, but the config declares another quantization",
                tensor.shard,
                tensor.name,
                expected=str(scheme),
                found=f"{tensor.dtype} {list(tensor.shape)}",
                help="declare what is stored",
                variant=_in_another(context, tensor.module, scheme),
            )
        elif tensor.dtype == FP8_WEIGHT and not is_small(tensor):
            leaving = engines_that_build(context, tensor.module, quantized=False)
            yield Observation(
                "excluded-but-quantized",
                "stored in FP8, but the config does not call it quantized",
                tensor.shard,
                tensor.name,
                expected="a module that the config quantizes",
                found=f"{tensor.dtype} {list(tensor.shape)}",
                help="take it out of the skip list, or add it to the targets",
                only=leaving,
                variant=variant(tensor.module),
                apart=("renamed", by_memory if leaving is None else by_memory & leaving)
                if tensor.module in context.names_in_memory
                else None,
            )


def _in_another(context: Context, module: str, declared: Declared) -> str:
    """The variant of a weight that the config declares in another quantization: a scale for each row has as many
    dimensions as those of groups, and any other has not; integers alone are stored in words of several; and where the
    whole weight has a scale beside those of groups, one value, or one for each row, is no scale of groups."""
    scale = context.container.tensors.get(names.join(module, "weight_scale"))
    by_row = scale is not None and len(scale.shape) == 2
    name = declared.name if isinstance(declared, OtherScheme) else ""
    single = scale is not None and (len(scale.shape) < 2 or scale.shape[1:] == (1,))
    second = name in _WITH_SECOND_SCALE and single
    return f"another-quantization{'/by-row' * by_row}{'/integers' * (name in _INTEGERS)}{'/second-scale' * second}"


@fix("unsafe", "CK606")
def unlist_module(context: Context, finding: Finding) -> Iterator[Edit]:
    """Take a module that is stored in FP8 out of the skip list, if it is there by its exact name.

    Its scale may still be another tool's, so that somebody has to say that it is meant.
    """
    subject = finding.subject
    if not isinstance(subject, StoredTensor):
        return
    module = subject.name.removesuffix(".weight")
    for listed in skip_lists(context):
        if module in listed.entries:
            yield RemoveItem(listed.way, module, listed.file)
