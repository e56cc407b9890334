"""Hypothesis strategies for headers and checkpoints, sound ones and broken ones."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

from ckptkit.dtypes import DTYPES
from tests.raw import RawTensor, raw_file, shard_bytes

#: Extents that meet zero-size tensors, ragged FP8 blocks, and sub-byte dtypes that end on a whole byte.
_EXTENTS = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 24, 33])

_NAME_PARTS = st.sampled_from(
    ["model", "layers", "0", "17", "q_proj", "weight", "weight_scale_inv", "k_scale", "schicht", "層", "é", "😀", "a b"]
)

dtype_codes = st.sampled_from(sorted(DTYPES))


def tensor_names() -> st.SearchStrategy[str]:
    """Names as models use them, and names as JSON allows them."""
    dotted = st.lists(_NAME_PARTS, min_size=1, max_size=4).map(".".join)
    wild = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    return (dotted | wild).filter(lambda name: name != "__metadata__")


@st.composite
def raw_tensors(draw: st.DrawFn, dtypes: st.SearchStrategy[str] = dtype_codes) -> RawTensor:
    """A tensor of any dtype, zero-size and scalar ones included, with bytes that fit."""
    dtype = draw(dtypes)
    shape = draw(
        st.lists(_EXTENTS, max_size=3).filter(lambda extents: math.prod(extents) * DTYPES[dtype].bits % 8 == 0)
    )
    nbytes = math.prod(shape) * DTYPES[dtype].bits // 8
    seed = draw(st.binary(min_size=1, max_size=4))
    return RawTensor(dtype, tuple(shape), (seed * nbytes)[:nbytes])


def tensor_dicts(max_size: int = 6, min_size: int = 0) -> st.SearchStrategy[dict[str, RawTensor]]:
    """Tensors by name."""
    return st.dictionaries(tensor_names(), raw_tensors(), min_size=min_size, max_size=max_size)


metadata_dicts = st.none() | st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    max_size=3,
)


@st.composite
def checkpoints(draw: st.DrawFn, max_shards: int = 3) -> dict[str, dict[str, RawTensor]]:
    """Sound checkpoints: tensors of distinct names over one or more shards. See ``raw.checkpoint_files``."""
    tensors = list(draw(tensor_dicts(max_size=8)).items())
    count = draw(st.integers(1, max_shards))
    if count == 1 or not tensors:
        return {"model.safetensors": dict(tensors)}
    files = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    shards: dict[str, dict[str, RawTensor]] = {}
    for name, tensor in tensors:  # a shard without tensors would be one that no index can name
        shards.setdefault(draw(st.sampled_from(files)), {})[name] = tensor
    return dict(sorted(shards.items()))


# Headers that a hand or an attacker might write. Choices are JSON fragments, text and not values, so that keys may
# repeat and numbers keep their spelling.

_SIZES = ["0", "1", "2", "8", "-0", "-1", "1.0", "1e0", "true", "null", '"1"', "[]", "{}", "01", "NaN"]
_HUGE = ["18446744073709551615", "18446744073709551616", "4294967296", "9223372036854775808", "1" + "0" * 30]
_VALUES = ["null", "[]", "{}", '"x"', "0", "-0", "1e400", "-1e400", "1e-400", "0e999", "Infinity", '"\\ud800"']
_VALUES += ['"\\ud83d\\ude00"', "1" + "0" * 308, "1" + "0" * 309, "1" + "0" * 4400, '{"dtype":1,"dtype":2}']
_VALUES += ["[" * depth + "]" * depth for depth in (3, 124, 125, 126, 127)]
_KEYS = ['"t0"', '"t1"', '"dtype"', '"__metadata__"', '"é"', '"\\u0074\\u0030"', '"\\udc00"', '""', '"a\\"b"']
_CODES = ['"f32"', '"F128"', "null", "7", "[]", '{"F32":null}', '{"F32":{}}', '{"F32":null,"F32":null}']
_METADATA = ["null", "[]", '"x"', '{"a":1}', '{"a":"1","a":"2"}', '{"a":1,"a":"2"}', '{"a":"\\ud800"}']


def _object(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{key}:{value}" for key, value in pairs) + "}"


def _seldom(draw: st.DrawFn, one_in: int = 24) -> bool:
    """Seldom true, so that a header has one oddity or two and not twenty."""
    return draw(st.integers(1, one_in)) == one_in


def _mostly(draw: st.DrawFn, usual: str, odd: list[str]) -> str:
    return draw(st.sampled_from(odd)) if _seldom(draw) else usual


def _entry_text(draw: st.DrawFn, start: int) -> tuple[str, int]:
    """An entry that begins at an offset, and the offset where it ends: mostly sound, sometimes odd."""
    code = draw(dtype_codes)
    extents = draw(st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=3))
    stop = start + math.prod(extents) * DTYPES[code].bits // 8
    dtype = _mostly(draw, f'"{code}"', _CODES)
    shape = ",".join(_mostly(draw, str(extent), _SIZES + _HUGE) for extent in extents)
    shape = _mostly(draw, f"[{shape}]", _VALUES)
    offsets = ",".join(_mostly(draw, str(bound), _SIZES + _HUGE) for bound in (start, stop))
    offsets = _mostly(draw, f"[{offsets}]", [*_VALUES, "[0]", "[0,0,0]"])
    fields = [('"dtype"', dtype), ('"shape"', shape), ('"data_offsets"', offsets)]
    if _seldom(draw):
        return f"[{dtype},{shape},{offsets}]", stop
    if _seldom(draw):
        fields.pop(draw(st.integers(0, 2)))
    if _seldom(draw):
        fields.append(draw(st.sampled_from(fields or [('"x"', "1")])))
    if _seldom(draw, one_in=8):
        fields.append((draw(st.sampled_from(_KEYS)), draw(st.sampled_from(_VALUES))))
    return _object(fields), stop


@st.composite
def odd_shards(draw: st.DrawFn) -> bytes:
    """Files whose header is JSON but may have oddities: repeated keys, strange numbers, unknown fields, holes."""
    pairs: list[tuple[str, str]] = []
    end = 0
    for position in range(draw(st.integers(0, 3))):
        text, stop = _entry_text(draw, draw(st.sampled_from([0, end + 1])) if _seldom(draw) else end)
        name = _mostly(draw, f'"t{position}"', _KEYS)
        pairs.append((name, text))
        end = max(end, stop)
        if _seldom(draw):
            pairs.append((name, draw(st.sampled_from([text, "null", '{"dtype":"F32"}']))))
    if draw(st.booleans()):
        pairs.append(('"__metadata__"', _mostly(draw, '{"format":"pt"}', _METADATA)))
    if draw(st.booleans()):
        pairs.reverse()
    if _seldom(draw):
        pairs.append(draw(st.sampled_from([*pairs, ('"t9"', "null")])))
    before = _mostly(draw, "", [" ", "\n\t ", "\ufeff", "\f", "\x00"])
    after = _mostly(draw, "", [" ", "   ", "\n", "\x00", "{}", ","])
    surplus = draw(st.sampled_from([1, -1])) if _seldom(draw) else 0
    return raw_file(before + _object(pairs) + after, b"\x01" * (end + surplus))


_TOKENS = [b"-0", b"NaN", b"1e999", b"\\ud800", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"0"]
_TOKENS += [b"null", b"true", b"\x00", b"\xff", b"\xc3\xa9", b'"dtype":"F32",', b'"x":1,', b"9" * 20]


@st.composite
def mutated_shards(draw: st.DrawFn) -> bytes:
    """A sound file in which a few bytes are replaced, inserted or cut: in the header, or anywhere."""
    file = shard_bytes(draw(tensor_dicts(min_size=1, max_size=2)), draw(metadata_dicts))
    length = int.from_bytes(file[:8], "little")
    header, data = bytearray(file[8 : 8 + length]), file[8 + length :]
    for _ in range(draw(st.integers(1, 2))):
        _mutate(draw, header)
    if not _seldom(draw, one_in=4):
        return raw_file(bytes(header), data)
    anywhere = bytearray(file)
    _mutate(draw, anywhere)
    return bytes(anywhere)


def _mutate(draw: st.DrawFn, text: bytearray) -> None:
    position = draw(st.integers(0, len(text)))
    text[position : position + draw(st.integers(0, 4))] = draw(st.sampled_from(_TOKENS) | st.binary(max_size=3))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)

#: Bytes for a config or index: JSON of any kind, broken text, or noise.
json_files = (
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode("utf-8"))
    | st.sampled_from([b"", b"{", b"[" * 2000, b"[" * 120 + b"]" * 120, b'{"a":"\\ud800"}', b'{"a":1,"a":2}', b"NaN"])
)
