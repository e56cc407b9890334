"""What holds the linear modules of a decoder layer, by model class, as checkpoints are stored.

A line is what a layer of these classes may have, a colon, and the classes. It was taken on 2026-11-30 from the modules
that transformers 5.17.0 builds for each class's own config, and from its mapping of stored names to those
(``conversion_mapping.py``). Classes with more than one way to store are not among them; of a class that is not listed
nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from ckptkit.model import names

_LINES = """
self_attn mlp: ArceeForCausalLM BitNetForCausalLM Cohere2ForCausalLM CohereForCausalLM CwmForCausalLM
  DiffLlamaForCausalLM Ernie4_5ForCausalLM Exaone4ForCausalLM Gemma2ForCausalLM Gemma3ForCausalLM GemmaForCausalLM
  Glm4ForCausalLM GlmForCausalLM GraniteForCausalLM GraniteSWAForCausalLM HeliumForCausalLM HyperCLOVAXForCausalLM
  Jais2ForCausalLM LlamaForCausalLM MiniCPM3ForCausalLM Ministral3ForCausalLM MistralForCausalLM NanoChatForCausalLM
  Olmo2ForCausalLM Olmo3ForCausalLM OlmoForCausalLM PersimmonForCausalLM Phi3ForCausalLM PhiForCausalLM
  Qwen2ForCausalLM Qwen3ForCausalLM SeedOssForCausalLM SmolLM3ForCausalLM StableLmForCausalLM Starcoder2ForCausalLM
  VaultGemmaForCausalLM YoutuForCausalLM
self_attn mlp mlp.experts: Cohere2MoeForCausalLM FlexOlmoForCausalLM MellumForCausalLM OlmoeForCausalLM
  Qwen3MoeForCausalLM
self_attn mlp mlp.experts mlp.shared_experts: DeepseekV2ForCausalLM DeepseekV3ForCausalLM Dots1ForCausalLM
  Ernie4_5_MoeForCausalLM ExaoneMoeForCausalLM Glm4MoeForCausalLM Glm4MoeLiteForCausalLM SolarOpenForCausalLM
self_attn mlp mlp.experts mlp.shared_expert: Qwen2MoeForCausalLM
self_attn linear_attn mlp mlp.experts mlp.shared_expert: Qwen3NextForCausalLM
self_attn mlp.experts mlp.shared_mlp mlp.gate: HunYuanMoEV1ForCausalLM
self_attn block_sparse_moe block_sparse_moe.experts: MiniMaxM2ForCausalLM MixtralForCausalLM
attention mlp: GPTNeoXForCausalLM
self_attn feed_forward mamba: BambaForCausalLM FalconH1ForCausalLM
"""
_BELOW_LAYER = re.compile(r"(?:^|\.)layers\.(?:\d+|\*)\.(.+)")


def _read() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in _LINES.replace("\n  ", " ").strip().splitlines():
        words, _, classes = line.partition(": ")
        found |= dict.fromkeys(classes.split(), frozenset(words.split()))
    return found


#: Class -> parts of a layer right above a linear module, experts without their numbers.
LAYER_PARTS: Mapping[str, frozenset[str]] = MappingProxyType(_read())


def part_of(module: str) -> str | None:
    """What holds a linear module in its decoder layer; None where it is of no layer, or right below one.

    >>> part_of("model.layers.0.mlp.experts.3.up_proj"), part_of("model.layers.*.self_attn.q_proj")
    ('mlp.experts', 'self_attn')
    >>> part_of("lm_head") is part_of("visual.layers.0.mlp.fc1") is None
    True
    """
    found = _BELOW_LAYER.search(module)
    if found is None or names.other_tower(module) is not None:
        return None
    owner = names.parent(found[1])
    return owner.partition(".experts")[0] + ".experts" if ".experts" in owner else owner or None
