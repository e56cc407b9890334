"""What Quark's importer builds of model classes before it looks for what is stored, by the names that it looks for.

``create_model_skeleton`` builds transformers' own classes, and ``preprocess_for_quantization`` puts numbered linear
layers in place of stacks of experts. The importer wants every key of that state, renames nothing as transformers does
when it loads, and leaves out what is left over. Taken on 2026-11-30 from the states of small models of each class,
built by Quark 0.13 with transformers 5.16.1; what only some layers of a class hold is not among these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ckptkit.engines.names import ModuleNames

_LLAMA = "input_layernorm post_attention_layernorm self_attn.{q,k,v,o}_proj mlp.{gate,up,down}_proj"
_NORMS = "self_attn.{q,k}_norm"
_ATTENTION = "input_layernorm post_attention_layernorm self_attn.{q,k,v,o}_proj"
_AFTER = "post_attention_layernorm post_feedforward_layernorm self_attn.{q,k,v,o}_proj self_attn.{q,k}_norm"
_EXPERTS = "mlp.gate mlp.experts.0.{gate,up,down}_proj"
_SHARED = "mlp.shared_expert.{gate,up,down}_proj mlp.shared_expert_gate"
_LATENT = "input_layernorm post_attention_layernorm self_attn.kv_a_proj_with_mqa self_attn.kv_b_proj self_attn.o_proj"
_TEXT = "model.language_model"

#: What every layer holds, and the classes of which that is so.
_LAYERS: Mapping[str, str] = MappingProxyType(
    {
        _LLAMA: (
            "LlamaForCausalLM MistralForCausalLM Qwen2ForCausalLM StableLmForCausalLM GraniteForCausalLM"
            " Ernie4_5ForCausalLM SeedOssForCausalLM SmolLM3ForCausalLM"
        ),
        f"{_LLAMA} {_NORMS}": "Qwen3ForCausalLM",
        f"{_LLAMA} self_attn.{{query,key}}_layernorm": "HunYuanDenseV1ForCausalLM",
        f"{_LLAMA} pre_feedforward_layernorm post_feedforward_layernorm": "Gemma2ForCausalLM",
        f"{_LLAMA} {_NORMS} pre_feedforward_layernorm post_feedforward_layernorm": "Gemma3ForCausalLM",
        "input_layernorm self_attn.{q,k,v,o}_proj mlp.{gate,up,down}_proj": "CohereForCausalLM Cohere2ForCausalLM",
        f"{_AFTER} mlp.{{gate,up,down}}_proj": "Olmo2ForCausalLM Exaone4ForCausalLM",
        f"{_ATTENTION} mlp.{{up,down}}_proj": "NemotronForCausalLM",
        f"{_ATTENTION} mlp.{{c_fc,c_proj}}": "Starcoder2ForCausalLM",
        f"{_ATTENTION} post_self_attn_layernorm post_mlp_layernorm mlp.{{gate_up,down}}_proj": "Glm4ForCausalLM",
        "input_layernorm post_attention_layernorm self_attn.{qkv,o}_proj mlp.{gate_up,down}_proj": "Phi3ForCausalLM",
        f"{_ATTENTION} {_EXPERTS}": "MixtralForCausalLM",
        f"{_ATTENTION} {_NORMS} {_EXPERTS}": "Qwen3MoeForCausalLM OlmoeForCausalLM MiniMaxM2ForCausalLM",
        f"{_ATTENTION} {_EXPERTS} {_SHARED}": "Qwen2MoeForCausalLM",
        f"input_layernorm post_attention_layernorm {_EXPERTS} {_SHARED}": "Qwen3NextForCausalLM Qwen3_5MoeForCausalLM",
        "input_layernorm post_attention_layernorm mlp.{gate,up,down}_proj": "Qwen3_5ForCausalLM",
        (
            f"{_ATTENTION} self_attn.{{query,key}}_layernorm mlp.gate.wg mlp.experts.0.{{gate,up,down}}_proj"
            " mlp.shared_mlp.{gate,up,down}_proj"
        ): "HunYuanMoEV1ForCausalLM",
        f"{_ATTENTION} mlp.router mlp.experts.0.{{gate,up,down}}_proj": "PhimoeForCausalLM",
        f"{_ATTENTION} {_EXPERTS.replace('mlp.gate ', 'mlp.router ').replace('mlp.', 'block_sparse_moe.')}": (
            "GraniteMoeForCausalLM"
        ),
        _LATENT: "DeepseekV2ForCausalLM DeepseekV3ForCausalLM",
        _ATTENTION: "Ernie4_5_MoeForCausalLM",
        f"{_ATTENTION} {_NORMS}": "Dots1ForCausalLM ExaoneMoeForCausalLM Glm4MoeForCausalLM",
    }
)
#: The same below a language model: the embedding and the last norm are there too.
_COMPOSITE: Mapping[str, str] = MappingProxyType(
    {
        _LLAMA: "LlavaForConditionalGeneration Mistral3ForConditionalGeneration Qwen2VLForConditionalGeneration",
        f"{_LLAMA} {_NORMS}": "InternVLForConditionalGeneration Qwen3VLForConditionalGeneration",
        f"{_LLAMA} {_NORMS} pre_feedforward_layernorm post_feedforward_layernorm": "Gemma3ForConditionalGeneration",
        f"{_ATTENTION} {_NORMS} {_EXPERTS}": "Qwen3VLMoeForConditionalGeneration",
        _ATTENTION: "Glm4vMoeForConditionalGeneration",
        f"input_layernorm post_attention_layernorm {_EXPERTS} {_SHARED}": "Qwen3_5MoeForConditionalGeneration",
    }
)
#: What a class has outside its layers, where that is not a language model's embedding and norm.
_OUTSIDE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("LlavaForConditionalGeneration", "Gemma3ForConditionalGeneration"),
            ("model.vision_tower.embeddings.patch_embedding",),
        ),
        "Mistral3ForConditionalGeneration": ("model.vision_tower.patch_conv",),
        **dict.fromkeys(
            (
                *("Qwen2VLForConditionalGeneration", "Qwen3VLForConditionalGeneration"),
                *("Qwen3VLMoeForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"),
                "Glm4vMoeForConditionalGeneration",
            ),
            ("model.visual.patch_embed.proj",),
        ),
        "NemotronHForCausalLM": ("model.embeddings", "model.norm_f"),
    }
)
#: What a layer with a router needs beside it, under the name that it has in memory.
_BESIDE: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("DeepseekV3ForCausalLM", "Dots1ForCausalLM", "ExaoneMoeForCausalLM", "Glm4MoeForCausalLM"),
                "Glm4vMoeForConditionalGeneration",
            ),
            (("mlp.gate", "mlp.gate.e_score_correction_bias"),),
        ),
        "Ernie4_5_MoeForCausalLM": (("mlp.gate", "mlp.gate.moe_statics.e_score_correction_bias"),),
        "MiniMaxM2ForCausalLM": (("mlp.gate", "mlp.e_score_correction_bias"),),
    }
)
#: Classes whose head is the embedding where config.json does not speak of it.
_TIED = frozenset(
    {
        *("CohereForCausalLM", "Cohere2ForCausalLM", "Ernie4_5_MoeForCausalLM", "Gemma2ForCausalLM"),
        *("Gemma3ForCausalLM", "Starcoder2ForCausalLM", "Ernie4_5ForCausalLM", "SmolLM3ForCausalLM"),
        *("Gemma3ForConditionalGeneration", "InternVLForConditionalGeneration", "Mistral3ForConditionalGeneration"),
    }
)


def _spread(text: str) -> list[str]:
    """Names with each word in braces.

    >>> _spread("self_attn.{q,k}_norm norm")
    ['self_attn.q_norm', 'self_attn.k_norm', 'norm']
    """
    found: list[str] = []
    for name in text.split():
        before, mark, rest = name.partition("{")
        inside, _, after = rest.partition("}")
        found += [f"{before}{part}{after}" for part in inside.split(",")] if mark else [name]
    return found


def _names(layer: str, outside: tuple[str, ...], owner: str, head: str) -> ModuleNames:
    needed = tuple((name,) for name in _spread(layer))
    return ModuleNames(
        frozenset(), frozenset(), needed, apart=True, whole=True, head=head, outside=outside, owner=owner
    )


def _classes() -> dict[str, ModuleNames]:
    plain = ("model.embed_tokens", "model.norm")
    found = {
        name: _names(layer, plain, "model.layers", "" if name in _TIED else "lm_head")
        for layer, classes in _LAYERS.items()
        for name in classes.split()
    }
    text = (f"{_TEXT}.embed_tokens", f"{_TEXT}.norm")
    for layer, classes in _COMPOSITE.items():
        for name in classes.split():
            head = "" if name in _TIED else "lm_head"
            found[name] = _names(layer, (*text, *_OUTSIDE.get(name, ())), f"{_TEXT}.layers", head)
    found["NemotronHForCausalLM"] = _names("norm", _OUTSIDE["NemotronHForCausalLM"], "model.layers", "lm_head")
    return {name: replace(names, beside=_BESIDE.get(name, ())) for name, names in found.items()}


MODULES: Mapping[str, ModuleNames] = MappingProxyType(_classes())

#: Classes whose norms give back the type that they got; those of the others multiply with the weight's, but for some
#: with torch's own, of which nothing is said (``forward`` of the norms in transformers' modeling files).
_GIVE_BACK = frozenset(
    {
        *("Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "CohereForCausalLM"),
        *("Cohere2ForCausalLM", "Olmo2ForCausalLM", "Qwen3NextForCausalLM", "Qwen3_5ForCausalLM"),
        *("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
    }
)
_TORCH_NORMS = frozenset({"StableLmForCausalLM", "NemotronForCausalLM", "Starcoder2ForCausalLM", "PhimoeForCausalLM"})
KEEPS_TYPES: Mapping[str, bool] = MappingProxyType(
    {name: name in _GIVE_BACK for name in MODULES if name not in _TORCH_NORMS}
)
