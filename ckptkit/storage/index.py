"""``model.safetensors.index.json``: which shard holds which tensor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ckptkit.errors import Fault

INDEX_FILE = "model.safetensors.index.json"


@dataclass(frozen=True)
class Index:
    """A parsed index; ``extra`` keeps top-level keys and metadata that are not ours to change."""

    file: str
    weight_map: dict[str, str]
    metadata: dict[str, Any]
    extra: dict[str, Any]

    @property
    def shards(self) -> tuple[str, ...]:
        """The shards that the index names, sorted."""
        return tuple(sorted(set(self.weight_map.values())))


def parse_index(file: str, raw: bytes) -> tuple[Index | None, list[Fault]]:
    """Parse an index file. An entry that names a file outside the folder is a fault and is left out."""
    document, faults = parse_json_object(file, raw)
    if document is None:
        return None, faults
    weight_map = document.pop("weight_map", None)
    metadata = document.pop("metadata", {})
    if not isinstance(weight_map, dict):
        faults.append(
            Fault(
                "index-invalid",
                "weight_map is missing or not an object",
                file,
                None,
                "an object",
                repr(weight_map),
            )
        )
        return None, faults
    if not isinstance(metadata, dict):
        faults.append(
            Fault("index-invalid", "metadata is not an object", file, None, "an object", repr(metadata))
        )
        metadata = {}
    entries: dict[str, str] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not is_inside(shard):
            faults.append(
                Fault(
                    "index-outside-folder",
                    "the index names a file outside the checkpoint folder",
                    file,
                    tensor,
                    expected="a file name relative to the folder",
                    found=repr(shard),
                    help="do not load this checkpoint before you know who wrote it",
                )
            )
        else:
            entries[tensor] = shard
    return Index(file, entries, metadata, document), faults


def is_inside(name: str) -> bool:
    """Whether a file name stays inside the folder: relative, no ``..``, no NUL, no backslash, not empty."""
    if not name or name.startswith("/") or "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":"):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def parse_json_object(file: str, raw: bytes) -> tuple[dict[str, Any] | None, list[Fault]]:
    """Parse a JSON file whose top level must be an object; a duplicate key is a fault."""
    duplicates: list[str] = []

    def from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            keys = [key for key, _ in pairs]
            duplicates.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return mapping

    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=from_pairs)
    except (ValueError, RecursionError) as error:
        return None, [Fault("json-invalid", "not valid JSON", file, found=str(error) or "nesting too deep")]
    if not isinstance(document, dict):
        return None, [
            Fault("json-invalid", "not a JSON object", file, None, "an object", type(document).__name__)
        ]
    faults = [
        Fault("json-duplicate-key", "a key is given twice; readers keep the last one", file, found=key)
        for key in duplicates
    ]
    return document, faults


def build_index(
    weight_map: Iterable[tuple[str, str]],
    total_size: int,
    metadata: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> bytes:
    """The bytes of an index: names sorted, ``total_size`` in bytes of tensor data, other metadata kept."""
    document = {
        **extra,
        "metadata": {**metadata, "total_size": total_size},
        "weight_map": dict(sorted(weight_map)),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
