"""Skip lists: what is left alone, under names, patterns and prefixes that nobody had tried."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.accuracy.held.common import (
    GEMMA,
    MIXTRAL,
    MIXTRAL_QUARK,
    MODELOPT,
    MODELOPT_MOE,
    OWN,
    PHI3,
    PHI3_QUARK,
    PLAIN_BLOCK,
    PLAIN_MOE,
    QWEN2,
    QWEN2_QUARK,
    QWEN3,
    VL,
    VL_KV,
    Held,
    alone,
    listed,
    no_side_file,
)
from tests.accuracy.reports import quantize
from tests.damage import CT, MOE, QUARK, QUARK_CUSTOM, QUARK_MOE, Damage, set_config, steps

#: Fixture, its list, and a module of its last layer.
_PLACES = (
    ("qwen2-ct", QWEN2, "ignore", "layers.1.mlp.down_proj"),
    ("qwen2-quark", QWEN2_QUARK, "exclude", "layers.1.mlp.down_proj"),
    ("modelopt", MODELOPT, "ignore", "layers.1.self_attn.o_proj"),
    ("fp8", QUARK_CUSTOM, "ignored_layers", "layers.1.self_attn.o_proj"),
    ("fp8-blocks", PLAIN_BLOCK, "modules_to_not_convert", "layers.0.mlp.down_proj"),
)


def _spellings(module: str) -> dict[str, str]:
    part = module.rpartition(".")[2]
    return {
        "exact": f"model.{module}",
        "star": f"*.{module}",
        "star-at-the-end": f"model.{module}*",
        "pattern": f"re:.*{module.replace('.', '[.]')}$",
        "pattern-of-a-part": f"re:{part}",
        "no-model": module,
        "weight": f"model.{module}.weight",
        "language-model": f"model.language_model.{module}",
        "part": part,
    }


def _by_spelling() -> Iterator[Held]:
    for place, fixture, key, module in _PLACES:
        plain = alone(re.escape(f"model.{module}"))
        for spelling, entry in _spellings(module).items():
            change = steps(no_side_file, plain, listed(key, entry))
            yield Held(f"list/{spelling}/{place}", fixture, change, OWN)
        layer = ".".join(module.split(".")[:2])
        whole = alone(re.escape(f"model.{layer}") + r"\..*_proj")
        for spelling, entry in (("layer", f"model.{layer}"), ("layer-star", f"*{layer}.*")):
            yield Held(f"list/{spelling}/{place}", fixture, steps(no_side_file, whole, listed(key, entry)), OWN)


def _fused() -> Iterator[Held]:
    attention, mlp = r"model\.layers\.0\.self_attn\.[qkv]_proj", r"model\.layers\.0\.mlp\.(gate|up)_proj"
    for place, fixture, key, _ in (*_PLACES, ("qwen3-ct", QWEN3, "ignore", "")):
        base = "model.layers.0"
        for name, pattern, entry in (("qkv", attention, "self_attn.qkv_proj"), ("gate-up", mlp, "mlp.gate_up_proj")):
            change = steps(no_side_file, alone(pattern), listed(key, f"{base}.{entry}"))
            yield Held(f"list/fused-{name}/{place}", fixture, change, OWN)
        one = alone(r"model\.layers\.0\.self_attn\.q_proj")
        yield Held(
            f"list/one-part/{place}", fixture, steps(no_side_file, one, listed(key, f"{base}.self_attn.q_proj")), OWN
        )
        yield Held(f"list/mlp-gate/{place}", fixture, steps(no_side_file, listed(key, f"{base}.mlp.gate")))
    for name, fixture, key in (("ct", PHI3, "ignore"), ("quark", PHI3_QUARK, "exclude")):
        parts = [f"model.layers.0.self_attn.{part}_proj" for part in "qkv"]
        change = steps(alone(r"model\.layers\.0\.self_attn\.qkv_proj"), listed(key, *parts))
        yield Held(f"list/parts-of-stored-merged/{name}", fixture, change, OWN)


def _routers() -> Iterator[Held]:
    both = tuple(f"model.layers.{layer}.mlp.gate" for layer in range(2))
    for name, entry in {
        "pattern": "re:.*mlp[.]gate$",
        "pattern-short": "re:.*gate$",
        "pattern-too-wide": "re:.*gate.*",
        "glob": "*.mlp.gate",
        "bare": "gate",
        "class": "Qwen3MoeTopKRouter",
    }.items():
        yield Held(f"list/router-{name}/ct", MOE, listed("ignore", "lm_head", entry, add=False))
    for name, entry in {
        "glob": "*block_sparse_moe.gate",
        "pattern": "re:.*block_sparse_moe.gate",
        "new": "re:.*mlp.gate$",
    }.items():
        yield Held(f"list/router-{name}/mixtral-ct", MIXTRAL, listed("ignore", "lm_head", entry, add=False))
    for name, entry in {"glob": "*mlp.gate", "pattern": "re:.*gate$", "wide": "*gate*"}.items():
        yield Held(f"list/router-{name}/quark", QUARK_MOE, listed("exclude", "lm_head", entry, add=False))
        yield Held(f"list/router-{name}/mixtral-quark", MIXTRAL_QUARK, listed("exclude", "lm_head", entry, add=False))
        change = steps(no_side_file, listed("ignore", "lm_head", entry, add=False))
        yield Held(f"list/router-{name}/modelopt", MODELOPT_MOE, change)
    yield Held("list/router-none/modelopt", MODELOPT_MOE, steps(no_side_file, listed("ignore", "lm_head", add=False)))
    for name, entries in {
        "exact": both,
        "bare": ("gate",),
        "glob": ("*.mlp.gate",),
        "with-weight": tuple(f"{n}.weight" for n in both),
    }.items():
        change = listed("modules_to_not_convert", "lm_head", *entries, add=False)
        yield Held(f"list/router-{name}/fp8-blocks", PLAIN_MOE, change)
    experts = r"model\.layers\.1\.mlp\.experts\.\d+\.\w+"
    for name, fixture, key, entry in (
        ("pattern/ct", MOE, "ignore", "re:.*layers[.]1[.]mlp[.]experts.*"),
        ("glob/modelopt", MODELOPT_MOE, "ignore", "*layers.1.mlp.experts*"),
        ("prefix/modelopt", MODELOPT_MOE, "ignore", "model.layers.1.mlp.experts"),
        ("prefix/fp8-blocks", PLAIN_MOE, "modules_to_not_convert", "model.layers.1.mlp.experts"),
        ("prefix/ct", MOE, "ignore", "model.layers.1.mlp.experts"),
        ("glob/quark", MIXTRAL_QUARK, "exclude", "*layers.1.mlp.experts*"),
    ):
        yield Held(f"list/experts-{name}", fixture, steps(no_side_file, alone(experts), listed(key, entry)), OWN)
    one = r"model\.layers\.1\.mlp\.experts\.2\.\w+"
    for name, fixture in (("ct", MOE), ("modelopt", MODELOPT_MOE)):
        entry = tuple(f"model.layers.1.mlp.experts.2.{part}_proj" for part in ("gate", "up", "down"))
        yield Held(f"list/one-expert/{name}", fixture, steps(no_side_file, alone(one), listed("ignore", *entry)), OWN)


def _towers() -> Iterator[Held]:
    for name, entry in {
        "prefix": "visual",
        "pattern": "re:visual[.].*",
        "pattern-with-model": "re:model[.]visual.*",
        "other-name": "re:.*vision.*",
        "glob": "visual.*",
    }.items():
        yield Held(f"list/tower-{name}/ct", VL, listed("ignore", "lm_head", entry, add=False))
        yield Held(f"list/tower-{name}/ct-kv", VL_KV, listed("ignore", "lm_head", entry, add=False))
    for name, entry in {
        "glob": "*vision_tower*",
        "pattern": "re:.*vision_tower.*",
        "no-model": "vision_tower.*",
        "none": "lm_head",
    }.items():
        yield Held(f"list/tower-{name}/quark", GEMMA, listed("exclude", "lm_head", entry, add=False))
    for form, key in (("fp8", "ignored_layers"), ("modelopt", "ignore")):
        for name, entry in {
            "glob": "*visual*",
            "prefix": "visual",
            "pattern": "re:.*visual.*",
            "none": "lm_head",
        }.items():
            change = steps(no_side_file, listed(key, "lm_head", entry, add=False))
            yield Held(f"list/tower-{name}/{form}", f"converted/{VL_KV}/{form}", change)


def _heads() -> Iterator[Held]:
    wrong: dict[str, Damage] = {
        "glob": listed("ignore", "*lm_head", add=False),
        "pattern": listed("ignore", "re:.*lm_head", add=False),
        "with-model": listed("ignore", "model.lm_head", add=False),
        "class": listed("ignore", "ParallelLMHead", add=False),
        "null": lambda checkpoint: checkpoint.block.update(ignore=None),
    }
    for name, change in wrong.items():
        yield Held(f"list/head-{name}/qwen2-ct", QWEN2, change)
    yield Held("list/head-glob/quark", QUARK, listed("exclude", "*lm_head*", add=False))
    yield Held("list/head-null/quark", QUARK, lambda checkpoint: checkpoint.block.update(exclude=None))
    yield Held("list/head-none/fp8", QUARK_CUSTOM, lambda checkpoint: checkpoint.block.pop("ignored_layers"))
    for name, change in {
        "null": lambda checkpoint: checkpoint.block.update(ignore=None),
        "glob": listed("ignore", "lm_head*", add=False),
        "none": lambda checkpoint: checkpoint.block.pop("ignore"),
    }.items():
        yield Held(f"list/head-{name}/modelopt", MODELOPT, steps(no_side_file, change))
    head = quantize("lm_head", lambda rows: ())
    yield Held("list/head-quantized-and-listed/modelopt", MODELOPT, steps(no_side_file, head), OWN)
    yield Held("list/head-quantized/modelopt", MODELOPT, steps(no_side_file, head, listed("ignore", add=False)), OWN)
    yield Held(
        "list/layer-types/ct", CT, steps(set_config(architectures=["LlamaForCausalLM"]), listed("ignore", "LlamaMLP"))
    )


LISTS = (*_by_spelling(), *_fused(), *_routers(), *_towers(), *_heads())
