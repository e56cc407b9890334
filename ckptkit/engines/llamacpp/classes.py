"""The model classes of llama.cpp's converter whose names of modules are known, and what they ask of the config.

Read in ``gguf-py/gguf/tensor_mapping.py`` and the classes' ``modify_tensors`` and ``set_gguf_parameters`` at
0c1e57098bba (b11312) and f49e9178767d (b8643), which agree on what is here, and run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ckptkit.engines.llamacpp.dequantizing import StopError
from ckptkit.engines.llamacpp.sizes import Told
from ckptkit.engines.names import ATTENTION, DENSE, DENSE_WITH_HEAD_NORMS, ModuleNames, experts
from ckptkit.engines.releases import Range, Release
from ckptkit.record import record

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.*)")
_OUTSIDE = frozenset({"lm_head", "model.lm_head", "model.embed_tokens", "model.norm"})
#: What is known without its prefix too. Of experts, routers and merged layers it is not.
BARE = re.compile(
    r"(embed_tokens|norm|layers\.\d+\.(\w*layernorm|self_attn\.[qkvo]_(proj|norm)|mlp\.(gate|up|down)_proj))\.\w+"
)
#: How Meta calls modules, and what others call them; InternLM2 has these names behind "model.".
_META = MappingProxyType(
    {
        **{f"attention.w{part}": f"self_attn.{part}_proj" for part in "qkvo"},
        **{f"feed_forward.w{n}": f"mlp.{part}_proj" for n, part in ((1, "gate"), (2, "down"), (3, "up"))},
        **{"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"},
    }
)
_OF_META = re.compile(rf"(?:model\.)?(layers\.\d+)\.({'|'.join(map(re.escape, _META))})\.(\w+)")
_META_OUTSIDE = re.compile(r"(?:(?:model\.)?(tok_embeddings)|(output))\.(\w+)")
#: Merged projections: not yet in b8643, and in b11312.
_NEWER = Range(since="b8644")
_GATED, _NUMBERED = ("gate_proj", "up_proj", "down_proj"), ("w1", "w2", "w3")


@record
class ModelClass:
    """What a class of the converter does with names.

    ``names`` are the modules that it needs, ``more`` others that have a name too. ``adds`` is what it puts before every
    name, ``strips`` what it takes out. ``container`` is where it collects single experts of a layer, ``parts`` what
    their projections are called, and ``stacks`` those that it takes for all experts at once. ``told`` is what it writes
    of sizes, ``yarn`` whether it asserts that kind of rotary embedding, and ``older_merged`` whether b8643, too, has a
    name for q, k and v in one. It ``permutes`` queries and keys of the usual names; ``wanted`` are keys of the config
    without which it stops where transformers reads none.
    """

    names: ModuleNames
    more: frozenset[str] = frozenset()
    adds: str = ""
    strips: tuple[str, ...] = ()
    container: str = ""
    parts: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()
    told: Told = Told()
    yarn: bool = False
    older_merged: bool = False
    permutes: bool = False
    wanted: tuple[str, ...] = ()

    def asked(self, name: str) -> str:
        """The name by which a stored tensor is looked up, with the prefix that the map knows it without, too.

        >>> CLASSES["LlamaForCausalLM"].asked("norm.weight"), CLASSES["LlamaModel"].asked("model.norm.weight")
        ('model.norm.weight', 'model.model.norm.weight')
        """
        for part in self.strips:
            name = name.replace(part, "")
        name = _of_others(self.adds + name)
        return f"model.{name}" if BARE.fullmatch(name) else name

    @staticmethod
    def is_of_meta(name: str) -> bool:
        """Whether queries or keys have the name that Meta gives them."""
        found = _OF_META.fullmatch(name)
        return found is not None and found[2] in ("attention.wq", "attention.wk")

    def maps(self, module: str, layers: int | None, release: Release) -> bool:
        """Whether a module has a name in the GGUF of a model of so many layers."""
        if not (self.older_merged or _NEWER.holds(release)) and module.endswith(".qkv_proj"):
            return False
        found = _LAYER.fullmatch(module)
        if found is None:
            return module in _OUTSIDE
        known = found[2] in self.names.linear or found[2] in self.names.others or found[2] in self.more
        return known and (layers is None or int(found[1]) < layers)

    def is_expert(self, name: str) -> bool:
        """Whether a tensor is kept until all single experts of its layer are there."""
        return bool(self.container) and self.container in name and not self.is_stack(name)

    def is_stack(self, name: str) -> bool:
        """Whether a tensor holds all experts of a layer."""
        module = name.removesuffix(".weight")
        return any(module.endswith(f"{self.container}.{stack}") for stack in self.stacks)

    def all_experts(self, owner: str, count: int) -> set[str]:
        """The tensors of a layer of which none may be missing, and none too many."""
        inner = self.container.rpartition(".")[2]
        return {f"{owner}.{inner}.{number}.{part}.weight" for number in range(count) for part in self.parts}

    def check(self, config: Mapping[str, Any]) -> None:
        """Raises StopError where the class asserts something of the config that is not so."""
        rope = config.get("rope_parameters", config.get("rope_scaling")) or {}
        unread = not isinstance(config.get("model_type"), str)
        absent = next((key for key in self.wanted if key not in config and key not in rope), None)
        if unread and absent is not None:
            # transformers, which reads configs of types that it knows, has a default for it.
            raise StopError(f"KeyError: {absent!r}")
        if not self.yarn or config.get("model_type") != "ministral3":
            return
        kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, Mapping) else None
        if kind != "yarn":
            raise StopError("AssertionError: ministral3 rope_type must be 'yarn'")


def _of_others(name: str) -> str:
    """A name of Meta's as others have it, any other as it is.

    >>> _of_others("layers.3.feed_forward.w2.weight"), _of_others("output.weight")
    ('model.layers.3.mlp.down_proj.weight', 'lm_head.weight')
    """
    inside = _OF_META.fullmatch(name)
    if inside is not None:
        return f"model.{inside[1]}.{_META[inside[2]]}.{inside[3]}"
    outside = _META_OUTSIDE.fullmatch(name)
    if outside is None:
        return name
    return f"{'model.embed_tokens' if outside[1] else 'lm_head'}.{outside[3]}"


def _class(known: ModuleNames, **more: Any) -> ModelClass:
    return ModelClass(replace(known, maps=True, apart=True), **more)


_LLAMA_TOLD = Told(vocabulary=True, experts="intermediate_size")
_DENSE = _class(DENSE)
_LIKE_LLAMA = _class(
    DENSE,
    told=_LLAMA_TOLD,
    strips=("text_model.",),
    container="block_sparse_moe.experts",
    parts=_NUMBERED,
    permutes=True,
)
_HEAD_NORMS = _class(DENSE_WITH_HEAD_NORMS)
_PHI3 = ModelClass(
    replace(DENSE, linear=DENSE.linear - {"mlp.gate_proj"}, maps=True),
    told=Told(head_dim=False),
    older_merged=True,
    wanted=("original_max_position_embeddings",),
)
_FEED_FORWARD_NORMS = frozenset({"pre_feedforward_layernorm", "post_feedforward_layernorm"})
_GEMMA3 = _class(replace(DENSE_WITH_HEAD_NORMS, others=DENSE_WITH_HEAD_NORMS.others | _FEED_FORWARD_NORMS))
_MIXTRAL = ModuleNames(ATTENTION.linear | {"block_sparse_moe.gate"}, ATTENTION.others)
_STACKS = ("gate_up_proj", "down_proj")

CLASSES: Mapping[str, ModelClass] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *("LLaMAForCausalLM", "LlamaForCausalLM", "LlamaBidirectionalModel", "MistralForCausalLM"),
                *("IQuestCoderForCausalLM", "SmolLM3ForCausalLM", "VLlama3ForCausalLM"),
            ),
            _LIKE_LLAMA,
        ),
        "LlamaModel": replace(_LIKE_LLAMA, adds="model."),
        "MixtralForCausalLM": replace(_LIKE_LLAMA, names=replace(_MIXTRAL, maps=True, apart=True)),
        "Ministral3ForCausalLM": replace(_LIKE_LLAMA, yarn=True),
        "GraniteForCausalLM": replace(_LIKE_LLAMA, told=replace(_LLAMA_TOLD, head_dim=False)),
        **dict.fromkeys(
            (
                *("DreamModel", "Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM", "KORMoForCausalLM", "Qwen2ForCausalLM"),
                *("Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration", "SeedOssForCausalLM"),
            ),
            _DENSE,
        ),
        "Qwen2Model": replace(_DENSE, adds="model."),
        **dict.fromkeys(("Qwen3ForCausalLM", "Qwen3Model"), _HEAD_NORMS),
        "Qwen3MoeForCausalLM": _class(
            experts("mlp.experts", "mlp.gate", norms=True), container="mlp.experts", parts=_GATED, stacks=_STACKS
        ),
        "Phi3ForCausalLM": _PHI3,
        **dict.fromkeys(("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"), _GEMMA3),
    }
)
#: The same for those who ask by names alone.
MODULES: Mapping[str, ModuleNames] = MappingProxyType({name: known.names for name, known in CLASSES.items()})
