"""Kinds of faults in how a config is spelled: targets, sizes and empty schemes of compressed-tensors, and entries of
lists under names that a class maps or never asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.accuracy.again.hub import channels, ordered, quark
from tests.accuracy.held.common import PLAIN_BLOCK
from tests.damage import BLOCK, CT, CT_FP8, MOE, Damage, set_block, steps

#: A name, what is changed and how, and whether the files say themselves what is meant.
Spelling = tuple[str, str, Damage, bool]

#: Classes of linear layers that vLLM and SGLang have.
_CLASSES = ["QKVParallelLinear", "MergedColumnParallelLinear", "RowParallelLinear"]


def _targets(*targets: str) -> Damage:
    return lambda checkpoint: checkpoint.group.update(targets=list(targets))


def _of_groups() -> Iterator[Spelling]:
    for base in (CT, MOE):
        yield f"targets/lower-case/{base}", base, _targets("linear"), False
        yield f"targets/part-of-classes/{base}", base, _targets("ParallelLinear"), False
        yield f"targets/classes-of-engines/{base}", base, _targets(*_CLASSES), False
    yield f"targets/one-class-of-engines/{CT}", CT, _targets("RowParallelLinear"), False
    yield f"targets/classes-and-experts/{MOE}", MOE, _targets("Linear", "RoutedExperts"), False
    for base in (CT, CT_FP8, MOE, BLOCK):
        yield f"inputs-empty/{base}", base, lambda c: c.group.update(input_activations={}), False


def _argument(role: str, **values: Any) -> Damage:
    return lambda checkpoint: checkpoint.group[role].update(values)


def _stored_as(storage: str) -> Damage:
    return steps(set_block(format=storage), lambda checkpoint: checkpoint.group.update(format=storage))


def _sizes() -> Iterator[Spelling]:
    yield f"size/group-of-channels/{CT}", CT, _argument("weights", group_size=1.5), False
    for name, size in (("whole", 128.0), ("broken", 128.5), ("text", "128")):
        yield f"size/group-{name}/{BLOCK}", BLOCK, _argument("input_activations", group_size=size), False
    for name, bits in (("whole", 8.0), ("text", "8")):
        yield f"size/bits-{name}/{CT}", CT, _argument("weights", num_bits=bits), False
    yield f"size/block-whole/{BLOCK}", BLOCK, _argument("weights", block_structure=[128.0, 128.0]), False
    for storage, bases in (("int-quantized", (CT, MOE)), ("pack-quantized", (CT,)), ("nvfp4-pack-quantized", (CT,))):
        for base in bases:
            yield f"stored-as/{storage}/{base}", base, _stored_as(storage), False
    for name, rows in (("whole", 128.0), ("broken", 128.5), ("text", "128")):
        yield f"size/block-{name}/{PLAIN_BLOCK}", PLAIN_BLOCK, set_block(weight_block_size=[rows, rows]), False


def _names() -> Iterator[Spelling]:
    """Entries of lists for classes that map names, or that give layers a prefix of their own."""
    kinds = {"ct": channels, "quark": quark}
    for kind, form in kinds.items():
        for name, entry, plain in (
            ("all-by-stored-pattern", r"re:backbone\..*", ""),
            ("all-by-own-pattern", r"re:model\..*", ""),
            ("second-by-stored-pattern", r"re:backbone\.layers\.1\..*", r"backbone\.layers\.1\..*"),
        ):
            change = steps(form(("lm_head", entry), but=plain), ordered)
            yield f"mapped/{name}/nemotron_h-{kind}", "drawn/nemotron_h", change, True
        plain = r"model\.layers\.0\.mamba\..*"
        for name, stem in (
            ("stored", "model.layers.0.mamba"),
            ("mixer", "model.layers.0.mixer"),
            ("counted-on", "model.2.mixer"),
        ):
            listed = ("lm_head", f"{stem}.in_proj", f"{stem}.out_proj")
            yield f"mapped/{name}/falcon_h1-{kind}", "drawn/falcon_h1", steps(form(listed, but=plain), ordered), True
        pattern = ("lm_head", r"re:model\.layers\.\d+\.mixer\..*")
        change = steps(form(pattern, but=r"model\.layers\.\d+\.mamba\..*"), ordered)
        yield f"mapped/mixer-pattern/falcon_h1-{kind}", "drawn/falcon_h1", change, True


SPELLINGS = (*_of_groups(), *_sizes(), *_names())
