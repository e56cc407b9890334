"""CK206 module-prefix-unusual."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Observation, Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.architectures import RELEASED_PREFIXES
from ckptkit.errors import Fault

_LAYER = re.compile(r"^(.*?)(?:^|\.)layers\.\d+\.")


@rule(
    "CK206",
    "module-prefix-unusual",
    Severity.WARNING,
    reports=(
        "sgl-project/sglang#38618",
        "vllm-project/vllm#50355",
        "hiyouga/LlamaFactory#8338",
        "vllm-project/vllm#19643",
    ),
)
def module_prefix_unusual(context: Context) -> Iterator[Fault]:
    """The modules' prefix is not the one under which the architecture is released.

    Why it hurts: engines map released names. Under another prefix some drop most weights and start all the same;
    skip lists that were written for one prefix stop matching under the other.

    Example: ``language_model.model.layers.0...`` in a checkpoint of ``Qwen3ForCausalLM``.

    Fix: rename the prefix in tensors, index and skip list together.
    """
    released = RELEASED_PREFIXES.get(context.dimensions.architecture or "")
    if released is None:
        return
    found: Counter[str] = Counter()
    for name in (*context.outside_experts, *context.experts):
        if ".layers." in name or name.startswith("layers."):
            match = _LAYER.match(f"{name}.")
            if match is not None:
                found[match[1]] += 1
    strange = {prefix: count for prefix, count in found.items() if prefix not in released}
    if found and sum(strange.values()) * 2 > sum(found.values()):
        worst = max(strange, key=lambda prefix: strange[prefix])
        yield Observation(
            "module-prefix",
            f"{strange[worst]} modules have a prefix under which {context.dimensions.architecture} is not released",
            "config.json",
            expected=" or ".join(f"{prefix}.layers" if prefix else "layers" for prefix in sorted(released)),
            found=f"{worst}.layers" if worst else "layers",
            variant=None if worst else "bare",
        )
