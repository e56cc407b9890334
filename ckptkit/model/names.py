"""What module names say: which modules are linear, which are attention, which are loaded as one.

A safetensors header does not say what class a module has. A 2-D ``.weight`` is a linear layer unless its name
says that it is an embedding; listing a router or a convolution too often in a skip list harms nobody, listing a
linear layer too seldom makes engines cast it to FP8 without a word.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

#: Parts of config.json that describe the language model of a multimodal checkpoint, and may hold what is said of it.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
#: Keys of config.json that name the type of weights, the newer first; and what experts are stored in, which may also
#: stand in the quantization config.
DTYPE_KEYS = ("dtype", "torch_dtype")
EXPERT_DTYPE = "expert_dtype"
#: Names of classes that stand for every linear module, in targets and in some skip lists.
LINEAR_CLASSES = frozenset({"Linear", "LinearBase"})

LM_HEAD = "lm_head"
_SHARED_HEAD = "shared_head.head"
_HEADS = (LM_HEAD, _SHARED_HEAD)
#: What DeepSeek's own files, and GPT-NeoX's, call the output head.
_OWN_HEADS = ("head", "embed_out")
#: A stored module that transformers gives another name whatever the model.
_RENAMED = MappingProxyType({"embed_out": LM_HEAD})
#: What state-space models' layers are stored below, and what stands for it in memory.
_BACKBONE, _MODEL = "backbone.", "model."

_EMBEDDING = re.compile(
    r"(^|\.)(\w*embed(dings?|_tokens|_positions|_in|)|tok_embeddings|wte|wpe|shared|relative_attention_bias)$"
)
_DIGITS = re.compile(r"(\d+)")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_ROUTER = re.compile(r"(^|\.)(router(\.\w+)?|shared_expert_gate|(mlp|block_sparse_moe|feed_forward|moe)\.gate)$")
_ROUTER_ENDS = ("gate", "router", "proj", "linear", "classifier")
#: The number of an expert in a name, and where it stands.
EXPERT = re.compile(r"\.experts\.\d+\.")
_EXPERT = re.compile(r"(.+\.experts)\.\d+\.")
#: How names below a layer begin in an adapter, and what tools put there.
_ADAPTER = ".lora_"
_BELOW_A_LAYER = re.compile(r"\.(lora_\w+(\.\w+)?|base_layer|\w+_quantizer)$")

#: Parts of names that belong to another tower of a multimodal model than the language model.
_OTHER_TOWER = re.compile(
    r"(?:^|\.)(visual\w*|vision\w*|video_\w+|vit|vpm|apm|image_\w+|audio\w*|speech\w*|codec_model"
    r"|multi_modal_projector|connector)(?:\.|$)|^(encoder)\."
)
#: Multimodal classes of transformers that keep their towers where they are stored; others move them, and
#: the language model, below ``model``. Read off the classes themselves.
_TOWERS_STAY = (*("Blip", "InstructBlip", "Kosmos2", "Llama4", "PPFormulaNet", "Qwen2_5Omni", "Qwen3Omni", "T5Gemma2"),)
_BACKBONE_RENAMED = ("NemotronH",)
#: What of a language model below ``model`` is moved.
_LANGUAGE_PARTS = frozenset({"layers", "embed_tokens", "norm"})

#: Projections that hold the keys and values of one attention module: role -> last part of the name.
SEPARATE_KV = MappingProxyType({"k": "k_proj", "v": "v_proj", "q": "q_proj"})
#: Last parts of names of a gated MLP where a model keeps those that it was trained with.
RAW_GATED = frozenset({"w1", "w2", "w3"})
#: Last parts of names under which q, k and v are stored as one weight.
FUSED_QKV = frozenset({"qkv_proj", "query_key_value", "Wqkv", "W_pack", "qkv"})

#: Last parts of names of what makes keys: one for each attention module. ``kv_b_proj`` is latent attention's.
MAKES_KEYS = FUSED_QKV | {"k_proj", "kv_b_proj"}

#: Names under which loaders stack several stored modules into one.
FUSED_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "qkv_proj": ("q_proj", "k_proj", "v_proj"),
        "gate_up_proj": ("gate_proj", "up_proj"),
        "w13": ("w1", "w3"),
    }
)
#: What Mixtral calls the projections of an expert -> what others do.
_EXPERT_PARTS = MappingProxyType({"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"})
#: Part of a fused layer -> that layer.
_FUSED_OF = {part: fused for fused, parts in FUSED_GROUPS.items() for part in parts}


def fused_layer(module: str) -> str | None:
    """The layer that engines make of a module and its siblings; None of a module that stays alone.

    >>> fused_layer("layers.0.self_attn.k_proj"), fused_layer("layers.0.self_attn.o_proj")
    ('layers.0.self_attn.qkv_proj', None)
    """
    owner, _, last = module.rpartition(".")
    fused = _FUSED_OF.get(last)
    return None if fused is None else join(owner, fused)


def whole_layers(chosen: Collection[str], stored: Collection[str]) -> Iterator[str]:
    """The fused layers of which two parts or more are stored, all of them chosen: some engines ask by that name.

    Parts of routed experts are left out: engines see all experts of a layer as one.

    >>> list(whole_layers({"a.q_proj", "a.k_proj", "b.q_proj"}, {"a.q_proj", "a.k_proj", "b.q_proj", "b.k_proj"}))
    ['a.qkv_proj']
    """
    seen: set[str] = set()
    for name in sorted(chosen, key=natural):
        whole = None if ".experts." in name else fused_layer(name)
        if whole is None or whole in seen or whole in stored:
            continue
        seen.add(whole)
        parts = stored_parts(whole, stored)
        if len(parts) > 1 and all(part in chosen for part in parts):
            yield whole


def stored_parts(layer: str, stored: Collection[str]) -> list[str]:
    """The stored parts of a fused layer, by their names; none of what is no such layer."""
    owner, _, last = layer.rpartition(".")
    return [name for part in FUSED_GROUPS.get(last, ()) if (name := join(owner, part)) in stored]


def last_part(module: str) -> str:
    """
    >>> last_part("model.layers.0.self_attn.q_proj")
    'q_proj'
    """
    return module.rpartition(".")[2]


def parent(module: str) -> str:
    """
    >>> parent("model.layers.0.self_attn.q_proj")
    'model.layers.0.self_attn'
    """
    return module.rpartition(".")[0]


def join(module: str, part: str) -> str:
    """The name of a child; the root module has the empty name."""
    return f"{module}.{part}" if module else part


def is_adapter(name: str) -> bool:
    """Whether a tensor or module belongs to an adapter beside a layer, and is no layer of the model.

    >>> is_adapter("model.layers.0.self_attn.q_proj.lora_A"), is_adapter("model.layers.0.self_attn.q_lora_proj")
    (True, False)
    """
    return _ADAPTER in name


def layer_above(module: str) -> str:
    """The layer that a quantizer or an adapter below it belongs to; any other module itself.

    >>> layer_above("model.layers.0.self_attn.q_proj.lora_A.default"), layer_above("lm_head")
    ('model.layers.0.self_attn.q_proj', 'lm_head')
    """
    return _BELOW_A_LAYER.sub("", module)


def is_embedding(module: str) -> bool:
    """Whether a 2-D weight of this name is a lookup table and not a linear layer.

    >>> [is_embedding(name) for name in ("model.embed_tokens", "lm_head", "embed_out", "transformer.wte")]
    [True, False, False, True]
    """
    return _EMBEDDING.search(module) is not None


def is_head(module: str) -> bool:
    """Whether this is the output head, at the top or inside a multimodal model, or that of a prediction layer.

    >>> [is_head(name) for name in ("lm_head", "language_model.lm_head", "model.lm_head_norm")]
    [True, True, False]
    >>> is_head("model.layers.61.shared_head.head"), is_head("head"), is_head("model.layers.0.head")
    (True, True, False)
    """
    if module in _OWN_HEADS:
        return True
    return module.endswith(_HEADS) and (last_part(module) == LM_HEAD or module.endswith(_SHARED_HEAD))


def is_router(module: str) -> bool:
    """Whether this chooses the experts of a mixture, or is the gate of its shared expert.

    >>> [is_router(name) for name in ("model.layers.0.mlp.gate", "model.layers.0.mlp.gate_proj", "x.router.linear")]
    [True, False, True]
    """
    return module.endswith(_ROUTER_ENDS) and _ROUTER.search(module) is not None


def experts_owner(module: str) -> str | None:
    """The module that engines build for all experts of a layer as one, if this linear belongs to an expert.

    >>> experts_owner("model.layers.0.mlp.experts.3.up_proj")
    'model.layers.0.mlp.experts'
    >>> experts_owner("model.layers.0.mlp.shared_expert.up_proj") is None
    True
    """
    found = _EXPERT.match(module)
    return found[1] if found else None


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which layer 2 comes before layer 10.

    >>> sorted(["layers.10.q", "layers.2.q"], key=natural)
    ['layers.2.q', 'layers.10.q']
    """
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in _DIGITS.split(name) if part)


def attention_modules(modules: Iterable[str]) -> tuple[str, ...]:
    """The modules with a KV cache among the parents of these modules, in natural order.

    Known by their keys' projection. Towers beside the language model attend without a cache.

    >>> attention_modules(["model.layers.0.self_attn.k_proj", "visual.blocks.0.attn.qkv"])
    ('model.layers.0.self_attn',)
    """
    split = (module.rpartition(".") for module in modules)
    found = {owner for owner, _, last in split if last in MAKES_KEYS}
    return tuple(sorted((owner for owner in found if other_tower(owner) is None), key=natural))


def other_tower(module: str) -> str | None:
    """The part of a name that says that a module belongs to a vision or audio tower, or connects one.

    >>> [other_tower(name) for name in ("visual.blocks.0.mlp", "model.encoder.layers.0.fc1")]
    ['visual', None]
    """
    found = _OTHER_TOWER.search(module)
    return found[1] or found[2] if found else None


def in_memory(modules: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Stored names of modules -> what transformers calls them, where that differs: heads, and what multimodal models
    hold.

    ``config`` is the model's. Nothing for a model that is stored under such names already, that has one tower only, or
    that brings its own code (``auto_map``).

    >>> config = {"architectures": ["Qwen2_5_VLForConditionalGeneration"]}
    >>> in_memory(["visual.blocks.0.attn.qkv", "model.layers.0.mlp.up_proj", "lm_head"], config)
    {'visual.blocks.0.attn.qkv': 'model.visual.blocks.0.attn.qkv', \
'model.layers.0.mlp.up_proj': 'model.language_model.layers.0.mlp.up_proj'}
    >>> in_memory(["visual.blocks.0.attn.qkv"], {**config, "auto_map": {}})
    {}
    """
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""
    stored = tuple(modules)
    renamed = {name: other for name, other in _RENAMED.items() if name in stored}
    if architecture.startswith(_BACKBONE_RENAMED):
        renamed |= {n: _MODEL + n.removeprefix(_BACKBONE) for n in stored if n.startswith(_BACKBONE)}
    if renamed and "auto_map" not in config:
        return renamed
    if not architecture.endswith("ForConditionalGeneration") or architecture.startswith(_TOWERS_STAY):
        return {}
    stems = {module.partition(".layers.")[0] for module in stored}
    apart = any(stem.startswith("language_model") or other_tower(stem) for stem in stems)
    if not apart or "auto_map" in config:
        return {}
    roots = {_root(stem) for stem in stems}
    other_names = ((module, _name_in_memory(module)) for module in stored)
    return {module: other for module, other in other_names if other is not None and _root(other) not in roots}


def common(name: str) -> str:
    """What most models call this module of a mixture, and Mixtral's since transformers renames it when it saves.

    >>> common("model.layers.0.block_sparse_moe.experts.3.w2"), common("model.layers.0.mlp.w2")
    ('model.layers.0.mlp.experts.3.down_proj', 'model.layers.0.mlp.w2')
    """
    name = name.replace(".block_sparse_moe.", ".mlp.")
    owner, _, last = name.rpartition(".")
    return f"{owner}.{_EXPERT_PARTS[last]}" if last in _EXPERT_PARTS and experts_owner(name) is not None else name


def _root(module: str) -> str:
    return ".".join(module.split(".", 2)[:2])


def _name_in_memory(module: str) -> str | None:
    first, _, rest = module.partition(".")
    if first == "language_model":
        inner, _, below = rest.partition(".")
        return rest if inner == LM_HEAD else f"model.language_model.{below}" if inner == "model" else None
    if first == "model":
        return f"model.language_model.{rest}" if rest.partition(".")[0] in _LANGUAGE_PARTS else None
    return f"model.{module}" if other_tower(first) else None


def generalise(name: str) -> str:
    """Replace every number in a name by ``*``, so that the same tensor of all layers gets one name.

    >>> generalise("model.layers.17.mlp.experts.3.up_proj")
    'model.layers.*.mlp.experts.*.up_proj'
    """
    owner, dot, last = name.rpartition(".")
    above, upper_dot, middle = owner.rpartition(".")
    middle, last = "*" if middle.isdecimal() else middle, "*" if last.isdecimal() else last
    return f"{_generalised(above)}{upper_dot}{middle}{dot}{last}"


@lru_cache(maxsize=1 << 15)
def _generalised(above: str) -> str:
    """The generalised name of what tensors and modules belong to, kept: hundreds of thousands have few such owners."""
    return _NUMBER.sub("*", above)
