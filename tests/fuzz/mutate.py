"""Mutations that know what they change: JSON values, headers of shards, text, and whole checkpoint folders.

Every choice comes from a function that is given a number of possibilities: a random generator in a long run, a
hypothesis strategy in the suite, which then finds the smallest input that still fails.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.raw import INDEX, raw_file

#: ``choose(n)`` is one of 0 to n - 1.
Choose = Callable[[int], int]
Files = dict[str, bytes]

#: Values that readers did not expect where they stand.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 128, 1.5, -0.0, 1e308, math.inf, math.nan, 2**31, 2**63, 2**64, 10**400),
    *("", "x", "false", "1", "a" * 5_000, "\ud800", "\x1b[31m", "../..", "re:(", "re:.*", "(a+)+$", "*", "é", "\0"),
    *([], {}, [[]], [None], {"": {}}, {"a": []}, ["Linear"], [128, 128], [0, 0], [-1], "F8_E4M3", "fp8", "static"),
)
_HOSTILE_NAMES = (
    *("README.md", ".ckptkit.toml", "generation_config.json", "hf_quant_config.json", "tokenizer_config.json"),
    *(
        "model-00009-of-00009.safetensors",
        "a b.safetensors",
        "\x1b[31m.json",
        "é.txt",
        "sub/config.json",
        "-rf",
        "nul\n",
    ),
)
TEXTS = {
    "README.md": b"---\nlicense: mit\ntags:\n- fp8\nquantized_by: x\n---\n# Model\n\ntext\n",
    ".ckptkit.toml": b'select = ["CK1", "CK3"]\nignore = ["CK301"]\nlevel = "headers"\nfor = "vllm"\ntp = [1, 2]\n',
    "hf_quant_config.json": b'{"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}',
}
#: Fragments that mean something in YAML, TOML, Markdown or JSON.
_FRAGMENTS = (
    *(b"---\n", b"- ", b": ", b"&a ", b"*a", b"!!python/name:os.system ", b"|\n", b"[", b"]", b"{", b"}", b'"', b"'''"),
    *(b"\n", b"\r", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"#", b"<!-- ", b"-->", b"```", b"2024-99-99"),
    *(b"[[a]]\n", b"[tool.ckptkit]\n", b"=", b"1e999", b"0x", b"nan", b"inf", b"?", b"%0A::error::", b"<script>"),
)


#: Lists grow no longer than this, however often they are chosen.
_LONGEST = 100_000


def mutate_json(value: Any, choose: Choose) -> Any:
    """A value with one thing changed somewhere in it."""
    document = [deepcopy(value)]
    container, key = document, 0
    while True:
        inner = container[key]
        if not isinstance(inner, (dict, list)) or not inner or choose(4) == 0:
            break
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        container, key = inner, keys[choose(len(keys))]
    _change(container, key, choose)
    return document[0] if document else None


def _change(container: Any, key: Any, choose: Choose) -> None:
    value = container[key]
    kind = choose(9)
    if kind <= 2:
        container[key] = deepcopy(ODD[choose(len(ODD))])
    elif kind == 3:
        del container[key]
    elif kind == 4 and isinstance(container, dict):
        container[f"{key}{choose(3)}"] = container.pop(key)
    elif kind == 4:
        container.append(deepcopy(value))
    elif kind == 5:
        container[key] = [value] if choose(2) else {"a": value}
    elif kind == 6:
        container[key] = str(value) if not isinstance(value, str) else len(value)
    elif kind == 7 and isinstance(value, list):
        container[key] = value * min(choose(100) + 2, max(1, _LONGEST // len(repr(value))))
    elif kind == 7 and isinstance(value, dict):
        value[("a", "", "weight", "é")[choose(4)]] = deepcopy(ODD[choose(len(ODD))])
    elif kind == 7 and isinstance(value, (int, float)):
        container[key] = (-value, value * 2, value / 2 if abs(value) < 2**64 else 0, value * 10**20)[choose(4)]
    else:
        depth = (2, 90, 130, 500)[choose(4)]
        for _ in range(depth):
            value = [value]
        container[key] = value


def json_bytes(value: Any, choose: Choose) -> bytes:
    """A value as text, now and then as only some readers take it."""
    text = json.dumps(value, ensure_ascii=bool(choose(2)), indent=None if choose(2) else 1)
    kind = choose(12)
    if kind == 0:
        text = text.replace("0", "-0", 1)
    elif kind == 1 and text.startswith("{") and len(text) > 2:
        text = "{" + text[1:-1] + "," + text[1:]  # every key twice
    elif kind == 2:
        text = text[: choose(len(text) + 1)]
    return text.encode("utf-8", "surrogatepass")


def mutate_text(data: bytes, choose: Choose) -> bytes:
    """Bytes with something put in, taken out, doubled or cut off."""
    at, kind = choose(len(data) + 1), choose(6)
    fragment = _FRAGMENTS[choose(len(_FRAGMENTS))]
    if kind <= 1:
        return data[:at] + fragment * (1, 1, 3, 200)[choose(4)] + data[at:]
    if kind == 2:
        return data[:at] + data[at + 1 + choose(8) :]
    if kind == 3:
        return data[:at] + bytes([choose(256)]) + data[at + 1 :]
    if kind == 4:
        return data[:at] + data[at // 2 :]
    return data[:at]


def mutate_document(data: bytes, choose: Choose) -> bytes:
    """A JSON file, changed as the value that it is, or as text where it is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_text(data, choose)
    try:
        return json_bytes(mutate_json(document, choose), choose)
    except (ValueError, RecursionError):
        return mutate_text(data, choose)


def mutate_shard(data: bytes, choose: Choose) -> bytes:
    """A safetensors file with another header, another length, or other data."""
    length = int.from_bytes(data[:8], "little")
    header, payload = data[8 : 8 + length], data[8 + length :]
    kind = choose(8)
    if kind <= 3:
        return raw_file(mutate_document(header, choose), payload)
    if kind == 4:
        wrong = (0, 1, length - 1, length + 1, len(data), 2**31, 2**63, 2**64 - 1)[choose(8)]
        return raw_file(header, payload, length=max(0, wrong) % 2**64)
    if kind == 5:
        return mutate_text(data, choose)
    if kind == 6:
        return data[: choose(len(data) + 1)] if choose(2) else data + bytes(choose(64))
    at = choose(len(payload) + 1)
    odd = (b"\x7f\x80", b"\xc0\x7f", b"\0\0", b"\xff\xff", b"\x01\x00")[choose(5)] * (1, 4, 64)[choose(3)]
    return raw_file(header, (payload[:at] + odd + payload[at + len(odd) :])[: len(payload)])


def mutate_folder(files: Files, choose: Choose) -> Files:
    """A checkpoint folder with one to four things changed."""
    changed = dict(files)
    for _ in range(1 + choose(4)):
        names = sorted(changed)
        name = names[choose(len(names))] if names else "config.json"
        kind = choose(10)
        if kind <= 2:
            name = ("config.json", INDEX)[choose(3) == 0]
            changed[name] = mutate_document(changed.get(name, b"{}"), choose)
        elif kind <= 5 and any(found.endswith(".safetensors") for found in names):
            shards = [found for found in names if found.endswith(".safetensors")]
            name = shards[choose(len(shards))]
            changed[name] = mutate_shard(changed[name], choose)
        elif kind == 6:
            name = sorted(TEXTS)[choose(len(TEXTS))]
            changed[name] = mutate_text(changed.get(name, TEXTS[name]), choose)
        elif kind == 7 and names:
            del changed[name]
        elif kind == 8 and names:
            changed[_HOSTILE_NAMES[choose(len(_HOSTILE_NAMES))]] = changed[name]
        elif name.endswith(".json"):
            changed[name] = mutate_document(changed.get(name, b"{}"), choose)
        elif names:
            changed[name] = mutate_text(changed[name], choose)
    return changed
