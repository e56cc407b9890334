"""What two checkpoints say beside their tensors: the model's config, the tokenizer, how text is generated.

A config that differs makes another model of the same tensors. Tools rewrite configs, however: what only says who
wrote the file, and what is spelt anew from one release to the next, does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckptkit.errors import CkptkitError, excerpt
from ckptkit.formats import config_block
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.names import TEXT_CONFIGS
from ckptkit.storage.container import Container
from ckptkit.storage.untrusted import parse_json

_QUANTIZATION = frozenset({config_block.KEY, config_block.LEGACY_KEY, "sparsity_config"})
#: Keys that say who wrote the file and where it lay, or matter in training only.
_WITHOUT_MEANING = frozenset(
    {
        *("transformers_version", "_name_or_path", "_commit_hash", "_attn_implementation_autoset", "use_cache"),
        *("attn_implementation", "_attn_implementation", "initializer_range", "pretraining_tp"),
        *("attention_dropout", "hidden_dropout", "embd_pdrop", "resid_pdrop", "attn_pdrop", "dropout"),
        *("router_aux_loss_coef", "output_router_logits", "gradient_checkpointing"),
        *("output_attentions", "output_hidden_states", "return_dict", "torchscript"),
    }
)
#: Keys that transformers has renamed: old -> new.
_RENAMED = {"torch_dtype": "dtype", "num_local_experts": "num_experts"}
#: RoPE is a group of its own since transformers 5; before, a key and a group.
_ROPE_GROUPS = ("rope_parameters", "rope_scaling")
_ROPE_KEYS = (
    *_ROPE_GROUPS,
    *("rope_theta", "rope_local_base_freq", "partial_rotary_factor", "original_max_position_embeddings"),
)
_ROPE_TYPES = {"mrope": "default", "su": "longrope"}
#: Keys that say nothing where ``use_sliding_window`` is false.
_WINDOW_KEYS = frozenset({"sliding_window", "max_window_layers"})
#: Keys of config.json about text and not about the model.
_TEXT_KEYS = frozenset({"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "sep_token_id"})
#: Files about text: what they say changes no number that the model computes.
_TEXT_FILES = frozenset(
    {
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja", "chat_template.json"),
        *("preprocessor_config.json", "processor_config.json"),
    }
)
#: What a JSON file about text says of its own origin.
_WRITER_KEYS = frozenset({"transformers_version", "_from_model_config", "name_or_path", "is_local", "local_files_only"})
_ABSENT = "absent"
#: Keys of one side that a note names.
_SHOWN = 6


class ConfigDifference(NamedTuple):
    """A key of config.json, the path of JSON keys to it, and what each side says; absent counts as null and false."""

    path: str
    left: str
    right: str


def config_differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[ConfigDifference]:
    """The keys that make another model, quantization apart. Keys about text, or of one side, are :func:`text_notes`."""
    for path, a, b in _differing(left, right):
        if path.rpartition(".")[2] not in _TEXT_KEYS and a is not None and b is not None and not _is_nested(path, a, b):
            yield ConfigDifference(path, _shown(a), _shown(b))


def text_notes(left: Checkpoint, right: Checkpoint) -> Iterator[str]:
    """What differs in how text becomes tokens and answers, in words. Files are compared between folders only."""
    alone: dict[str, list[str]] = {"left": [], "right": []}  # releases of transformers differ in what they write out
    for path, a, b in _differing(left.config, right.config):
        if path.rpartition(".")[2] in _TEXT_KEYS:
            yield f"config.json: {path} differs: {_shown(a)} and {_shown(b)}"
        elif a is None or b is None:
            alone["left" if b is None else "right"].append(f"{path} = {_shown(a if b is None else b)}")
        elif _is_nested(path, a, b):
            yield f"config.json: {path} is spelt too differently to be compared: {_shown(a)} and {_shown(b)}"
    for side, keys in alone.items():
        if keys:
            more = f", and {len(keys) - _SHOWN} more keys" if len(keys) > _SHOWN else ""
            yield f"config.json: only the {side} one says {', '.join(keys[:_SHOWN])}{more}"
    sides = (left.container, right.container)
    if any(side.source.traffic is not None for side in sides):
        return
    held = [{entry.name for entry in side.side_files} & _TEXT_FILES for side in sides]
    for name in sorted(held[0] | held[1]):
        if name not in held[0] or name not in held[1]:
            yield f"{name} is in the {'left' if name in held[0] else 'right'} folder only"
        elif (same := _same_content(name, *sides)) is None:
            yield f"{name} cannot be compared: it cannot be read, or is too large"
        elif not same:
            yield f"{name} differs"


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    ours, theirs = dict(_flat(left)), dict(_flat(right))
    for path in {**ours, **theirs}:
        a, b = ours.get(path), theirs.get(path)
        # Defaults are written out by some tools: nothing, null and false say the same; a missing dtype says nothing.
        untold = path.rpartition(".")[2] == "dtype" and (a is None or b is None)
        same = a == b or (a != a and b != b)  # one NaN is as good as another
        if not same and (a or b or type(a) is type(b)) and not untold:
            yield path, a, b


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with a meaning for the model, sub-configs opened, in one spelling.

    The language model's sub-config counts as a part of the top level, as which older releases write it.
    """
    rope = _rope(config)
    if rope is not None:
        yield f"{prefix}rope", rope
    windowless = config.get("use_sliding_window") is False
    for key, value in config.items():
        if key in _QUANTIZATION or key in _WITHOUT_MEANING or key in _ROPE_KEYS or (windowless and key in _WINDOW_KEYS):
            continue
        path = f"{prefix}{_RENAMED.get(key, key)}"
        if isinstance(value, Mapping) and key.endswith("_config"):
            # A sub-config may repeat what the level above says.
            own = {inner: item for inner, item in value.items() if inner not in config or config[inner] != item}
            if key in TEXT_CONFIGS and not prefix:
                yield from _flat({inner: item for inner, item in own.items() if inner not in config})
                own = {inner: item for inner, item in own.items() if inner in config}
            yield from _flat(own, f"{path}.")
        else:
            yield path, value.removeprefix("torch.") if isinstance(value, str) else value


def _rope(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How positions are rotated, in one spelling; None where the config does not say."""
    found: dict[str, Any] = {key: config[key] for key in _ROPE_KEYS[2:] if config.get(key) is not None}
    for group in _ROPE_GROUPS:
        value = config.get(group)
        if isinstance(value, Mapping):
            found.update(value)
    kind = found.pop("type", None) or found.get("rope_type") or "default"
    found["rope_type"] = _ROPE_TYPES.get(kind, kind) if isinstance(kind, str) else kind
    return found if len(found) > 1 or found["rope_type"] != "default" else None


def _is_nested(path: str, left: Any, right: Any) -> bool:
    """Whether one side says RoPE for each kind of layer and the other in one."""
    nested = [isinstance(side, dict) and any(isinstance(v, Mapping) for v in side.values()) for side in (left, right)]
    return path.rpartition(".")[2] == "rope" and nested[0] != nested[1]


def _same_content(name: str, left: Container, right: Container) -> bool | None:
    """Whether two files of one name say the same; JSON as values, and without the writer's version.

    None where one cannot be read, or is too large to be what its name says.
    """
    try:
        ours, theirs = left.side_file(name) or b"", right.side_file(name) or b""
    except CkptkitError:
        return None
    if ours == theirs:
        return True
    if not name.endswith(".json"):
        return False
    try:
        return bool(_without_writer(parse_json(ours)) == _without_writer(parse_json(theirs)))
    except ValueError:
        return False


def _without_writer(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    return {key: value for key, value in document.items() if key not in _WRITER_KEYS}


def _shown(value: Any) -> str:
    return _ABSENT if value is None else value if isinstance(value, str) else excerpt(value)
