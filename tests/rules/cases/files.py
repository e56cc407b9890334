"""CK1xx: files, headers, index, and what config and index promise."""

from __future__ import annotations

import json

from ckptkit.checks.registry import Level
from tests.damage import (
    CT,
    MOE,
    QUARK_SHARDED,
    SHARD,
    SHARDED,
    TIED,
    MutableCheckpoint,
    put,
    set_config,
    steps,
)
from tests.raw import INDEX, index_bytes, raw_file, shard_bytes
from tests.rules.case import Case

_FIRST = "model-00001-of-00003.safetensors"
_HEADERS = Level.HEADERS


def _lfs_pointer(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files[_FIRST] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4976698672\n"


def _cut(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files[SHARD] = checkpoint.to_files()[SHARD][:-100]


def _rewritten(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files[SHARD] = shard_bytes(checkpoint.shards[SHARD], {"format": "pt", "written": "again"})


def _header(checkpoint: MutableCheckpoint, change: str) -> None:
    raw = checkpoint.to_files()[SHARD]
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    entry = header["model.norm.weight"]
    if change == "size":
        entry["shape"] = [63]
    elif change == "order":
        header = dict(reversed(header.items()))
    checkpoint.files[SHARD] = raw_file(header, raw[8 + length :])


def _wrong_size(checkpoint: MutableCheckpoint) -> None:
    _header(checkpoint, "size")


def _other_order(checkpoint: MutableCheckpoint) -> None:
    _header(checkpoint, "order")


def _shard_gone(checkpoint: MutableCheckpoint) -> None:
    del checkpoint.shards[_FIRST]


def _shard_gone_and_unlisted(checkpoint: MutableCheckpoint) -> None:
    """All of its tensors move into the next shard, and the index knows."""
    moved = checkpoint.shards.pop(_FIRST)
    next(iter(checkpoint.shards.values())).update(moved)
    checkpoint.true_index()


def _index_points_elsewhere(checkpoint: MutableCheckpoint) -> None:
    index = checkpoint.true_index()["weight_map"]
    name = next(name for name, shard in index.items() if shard == _FIRST)
    index[name] = "model-00002-of-00003.safetensors"


def _index_in_other_order(checkpoint: MutableCheckpoint) -> None:
    index = checkpoint.true_index()
    index["weight_map"] = dict(reversed(index["weight_map"].items()))


def _unlisted(checkpoint: MutableCheckpoint) -> None:
    index = checkpoint.true_index()
    del index["weight_map"]["model.norm.weight"]


def _twice(checkpoint: MutableCheckpoint) -> None:
    checkpoint.true_index()
    first, second = list(checkpoint.shards)[:2]
    name = next(iter(checkpoint.shards[first]))
    checkpoint.shards[second][name] = checkpoint.shards[first][name]
    checkpoint.index = json.loads(index_bytes(checkpoint.shards))


def _second_set(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files["consolidated.safetensors"] = shard_bytes(checkpoint.shards[_FIRST], {"format": "pt"})


def _nested_set(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files["original/consolidated.00.safetensors"] = shard_bytes(checkpoint.shards[_FIRST], {"format": "pt"})


def _other_file(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files["original/weights.safetensors"] = shard_bytes(checkpoint.shards[_FIRST], {"format": "pt"})


def _no_index(checkpoint: MutableCheckpoint) -> None:
    checkpoint.index = None


def _total_size(checkpoint: MutableCheckpoint) -> None:
    checkpoint.true_index()["metadata"]["total_size"] += 1


def _more_metadata(checkpoint: MutableCheckpoint) -> None:
    checkpoint.true_index()["metadata"]["total_parameters"] = 12


def _no_metadata(checkpoint: MutableCheckpoint) -> None:
    checkpoint.metadata = None


def _no_format(checkpoint: MutableCheckpoint) -> None:
    checkpoint.metadata = {"format": "pt", "made_by": "someone"}


def _move(checkpoint: MutableCheckpoint, name: str) -> None:
    shards = list(checkpoint.shards.values())
    source = next(shard for shard in shards if name in shard)
    target = next(shard for shard in shards if shard is not source)
    target[name] = source.pop(name)
    checkpoint.true_index()


def _scale_moves(checkpoint: MutableCheckpoint) -> None:
    _move(checkpoint, "model.layers.0.self_attn.q_proj.weight_scale")


def _norm_moves(checkpoint: MutableCheckpoint) -> None:
    _move(checkpoint, "model.norm.weight")


def _outside(checkpoint: MutableCheckpoint) -> None:
    checkpoint.true_index()["weight_map"]["model.norm.weight"] = "../other/model.safetensors"


def _bad_config(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files["config.json"] = json.dumps(checkpoint.config).encode()[:-1]


def _utf8_config(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["_name_or_path"] = "модель"
    checkpoint.files["config.json"] = json.dumps(checkpoint.config, ensure_ascii=False).encode()


def _key_twice(checkpoint: MutableCheckpoint) -> None:
    text = json.dumps(checkpoint.config)
    checkpoint.files["config.json"] = (text[:-1] + ', "vocab_size": 32}').encode()


def _bad_index(checkpoint: MutableCheckpoint) -> None:
    checkpoint.files[INDEX] = b'{"metadata": {}, "weight_map": []}'


def _untied_with_head(checkpoint: MutableCheckpoint) -> None:
    checkpoint.config["tie_word_embeddings"] = False
    checkpoint.put("lm_head.weight", *checkpoint.get("model.embed_tokens.weight"))


def _drop_expert(checkpoint: MutableCheckpoint) -> None:
    checkpoint.drop(r"model\.layers\.1\.mlp\.experts\.3\..*")


CASES = (
    Case("CK101", SHARDED, _lfs_pointer, _more_metadata, level=_HEADERS),
    Case("CK102", CT, _cut, _rewritten, level=_HEADERS),
    Case("CK103", CT, _wrong_size, _other_order, level=_HEADERS),
    Case("CK104", SHARDED, _shard_gone, _shard_gone_and_unlisted, level=_HEADERS),
    Case("CK105", SHARDED, _index_points_elsewhere, _index_in_other_order, level=_HEADERS),
    Case("CK106", SHARDED, _unlisted, _index_in_other_order, level=_HEADERS),
    Case("CK107", QUARK_SHARDED, _twice, _norm_moves, level=_HEADERS),
    Case("CK108", SHARDED, _second_set, _other_file, level=_HEADERS),
    Case("CK108", SHARDED, _nested_set, _other_file, level=_HEADERS),
    Case("CK109", SHARDED, _no_index, _index_in_other_order, level=_HEADERS),
    Case("CK110", SHARDED, _total_size, _more_metadata, level=_HEADERS),
    Case("CK111", CT, _no_metadata, _no_format, level=_HEADERS),
    Case("CK112", QUARK_SHARDED, _scale_moves, _norm_moves, level=_HEADERS),
    Case("CK113", CT, set_config(tie_word_embeddings=True), set_config(tie_word_embeddings=None), level=_HEADERS),
    Case("CK113", TIED, set_config(tie_word_embeddings=False), _untied_with_head, level=_HEADERS),
    Case(
        "CK113",
        TIED,
        set_config(text_config={"tie_word_embeddings": False}),
        set_config(text_config={"tie_word_embeddings": True}),
        level=_HEADERS,
    ),
    Case(
        "CK114",
        CT,
        set_config(num_hidden_layers=3),
        set_config(num_hidden_layers=1),
        near_also=frozenset({"CK118"}),
        level=_HEADERS,
    ),
    Case("CK114", MOE, _drop_expert, set_config(num_experts=3), level=_HEADERS),
    Case(
        "CK114",
        CT,
        set_config(num_nextn_predict_layers=1),
        steps(set_config(num_nextn_predict_layers=1), put("mtp.norm.weight", "BF16", (64,), bytes(128))),
        level=_HEADERS,
    ),
    Case(
        "CK114",
        CT,
        set_config(vision_config={}),
        steps(set_config(vision_config={}), put("model.visual.norm.weight", "BF16", (64,), bytes(128))),
        level=_HEADERS,
    ),
    Case("CK115", SHARDED, _outside, _index_in_other_order, level=_HEADERS, also=frozenset({"CK106"})),
    Case("CK116", CT, _bad_config, _utf8_config, level=_HEADERS),
    Case("CK116", SHARDED, _bad_index, _more_metadata, level=_HEADERS, also=frozenset({"CK109"})),
    Case("CK117", CT, _key_twice, _utf8_config, level=_HEADERS),
)
