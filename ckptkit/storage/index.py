"""``model.safetensors.index.json``: which shard holds which tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from ckptkit.errors import Fault, excerpt
from ckptkit.record import record
from ckptkit.storage.strict_json import count_strings, has_lone_surrogate, repeated_keys, strings_in
from ckptkit.storage.untrusted import parse_json

INDEX_FILE = "model.safetensors.index.json"
SHARD_SUFFIX = ".safetensors"

#: A config or index beyond this is an attack or a mistake; an index of a million tensors has 150 MB.
MAX_JSON_BYTES = 1 << 29


@record
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
    """Parse an index file. An entry that names no safetensors file of this folder is a fault and is left out."""
    document, faults = parse_json_object(file, raw)
    if document is None:
        return None, faults
    weight_map = document.pop("weight_map", None)
    metadata = document.pop("metadata", {})
    if not isinstance(metadata, dict):
        message = "metadata is not an object"
        faults.append(Fault("index-invalid", message, file, None, "an object", excerpt(metadata)))
        metadata = {}
    if not isinstance(weight_map, dict) or not weight_map:
        message = "weight_map is missing, empty or not an object"
        faults.append(Fault("index-invalid", message, file, None, "tensor names and shards", excerpt(weight_map)))
        return None, faults
    if set(map(type, weight_map.values())) != {str} or not all(map(_is_shard_name, set(weight_map.values()))):
        usable = {tensor: shard for tensor, shard in weight_map.items() if _is_shard_name(shard)}
        faults += [_entry_fault(file, tensor, weight_map[tensor]) for tensor in weight_map if tensor not in usable]
        weight_map = usable
    return Index(file, weight_map, metadata, document), faults


def is_inside(name: str) -> bool:
    """Whether a file name stays inside the folder: relative, no ``..``, no NUL, no backslash, no drive, not empty."""
    if not name or name.startswith("/") or "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":"):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _is_shard_name(name: Any) -> bool:
    return isinstance(name, str) and is_inside(name) and name.endswith(SHARD_SUFFIX)


def _entry_fault(file: str, tensor: str, shard: Any) -> Fault:
    """Why an index entry cannot be followed."""
    if isinstance(shard, str) and not is_inside(shard):
        return Fault(
            "index-outside-folder",
            "the index names a file outside the checkpoint folder",
            file,
            tensor,
            expected="a file name relative to the folder",
            found=excerpt(shard),
            help="do not load this checkpoint before you know who wrote it",
        )
    return Fault(
        "index-not-a-shard",
        "the index places the tensor in something other than a safetensors file",
        file,
        tensor,
        expected=f"a file name that ends in {SHARD_SUFFIX}",
        found=excerpt(shard),
        help="rewrite the index",
    )


def parse_json_object(file: str, raw: bytes) -> tuple[dict[str, Any] | None, list[Fault]]:
    """Parse a JSON file whose top level must be an object; a duplicate key is a fault.

    NaN and Infinity are taken, as Python's own loaders do: configs of real models hold them. Half characters and
    bottomless nesting are not, because whatever prints or walks the result would fail on them.
    """
    problem = None
    duplicates: list[str] = []
    try:
        text = raw.decode("utf-8")
        document = parse_json(text, most=MAX_JSON_BYTES)
        if has_lone_surrogate(text):
            problem = "a string holds a lone surrogate"
        elif not isinstance(document, dict):
            problem = excerpt(document)
        elif count_strings(text) != strings_in(document):
            duplicates = repeated_keys(text)
    except ValueError as error:
        problem = str(error)
    if problem is not None:
        return None, [Fault("json-invalid", "not a JSON object in UTF-8", file, None, "a JSON object", problem)]
    message = "a key is given twice; readers keep the last one"
    return document, [
        Fault("json-duplicate-key", message, file, None, "one", f"several {excerpt(key)}") for key in duplicates
    ]


def build_index(
    weight_map: Mapping[str, str], total_size: int, metadata: Mapping[str, Any], extra: Mapping[str, Any]
) -> bytes:
    """The bytes of an index: names sorted, ``total_size`` in bytes of tensor data, other metadata kept."""
    document = {**extra, "metadata": {**metadata, "total_size": total_size}, "weight_map": {}}
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if not weight_map:
        return f"{text}\n".encode()
    # Python's encoder lays out line by line, and slowly; an object of strings needs no more than this. The text of many
    # tensors is long: it is put together once.
    quoted = {file: f": {encode_basestring(file)}" for file in set(weight_map.values())}
    lines = [encode_basestring(name) + quoted[weight_map[name]] for name in sorted(weight_map)]
    lines[0] = text.removesuffix("}\n}") + "\n    " + lines[0]
    lines[-1] += "\n  }\n}\n"
    return ",\n    ".join(lines).encode()
