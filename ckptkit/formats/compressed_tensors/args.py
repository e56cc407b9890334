"""Reading QuantizationArgs: how one role of a group, or the KV cache, is quantized."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from ckptkit.dtypes import TORCH_NAMES
from ckptkit.edits.changes import Path, RemoveKey, SetKey
from ckptkit.errors import Fault
from ckptkit.formats.base import ConfigFault, ConfigReader
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import Quantization

#: The kind of the fault for a key that no version of the library knows.
UNKNOWN_KEY = "config-unknown-key"
#: Arguments that every version of the library knows, and those that came later.
_OLDEST_ARGS = frozenset(
    {
        *("num_bits", "type", "symmetric", "group_size", "strategy", "block_structure"),
        *("dynamic", "actorder", "observer", "observer_kwargs"),
    }
)
#: What arguments are of, as engines' tables call it.
_ROLES = {"weights": "weight", "input_activations": "input"}
_CACHE: Path = ("kv_cache_scheme",)
#: A strategy that the library knows, and that FP8 weights do not have.
_OTHER_STRATEGY = "tensor_group"
#: Orders of columns that only groups have.
_GROUP_ORDERS = ("group", "dynamic", True)
LATER_ARGS = frozenset({"scale_dtype", "zp_dtype"})
_KNOWN_ARGS = _OLDEST_ARGS | LATER_ARGS


def unknown_keys(body: Mapping[str, Any], known: Set[str], place: Path, way: Path) -> list[Fault]:
    """Faults for keys that no version of the library writes: it refuses them in groups, and drops them at the top."""
    return [
        ConfigFault(
            UNKNOWN_KEY,
            "a key that compressed-tensors does not know",
            "config.json",
            found=".".join(map(str, (*place, key))),
            help=None if place else _meant(key),
            path=(*place, key),
            edits=(RemoveKey((*way, *place, key)),) if place and value is None else (),
        )
        for key, value in body.items()
        if key not in known
    ]


#: What readers look for at the top level, and a misspelt key was meant to be.
_READ_KEYS = ("config_groups", "format", "ignore", "kv_cache_scheme", "quantization_status", "sparsity_config")


def _meant(key: str) -> str | None:
    """The key that readers look for and that this one nearly is, as a question."""
    from difflib import get_close_matches  # what only a fault needs is imported for it

    near = get_close_matches(key, _READ_KEYS, 1, cutoff=0.8)
    return f"did you mean {near[0]!r}?" if near else None


class ArgsReader:
    """Reads the QuantizationArgs of one config. ``way`` is the way to the config in config.json, for edits.

    ``weights_alone`` says that what is read is of a group that leaves inputs in high precision.
    """

    def __init__(self, reader: ConfigReader, way: Path) -> None:
        self.reader, self.way, self.weights_alone = reader, way, False
        self.faults: list[Fault] = []

    def read(self, args: Mapping[str, Any], place: Path) -> Quantization | None:
        """The quantization that these arguments, found at ``place`` in the config, declare; None if it is not FP8.

        ``type`` defaults to "int" in the library, which no FP8 checkpoint means.
        """
        path, reader, role = ".".join(map(str, place)), self.reader, _ROLES.get(str(place[-1]), "other")
        self.faults += unknown_keys(args, _KNOWN_ARGS, place, self.way)
        kind = lower(args.get("type"))
        if kind is None:
            self.faults.append(
                ConfigFault(
                    "ct-type-missing",
                    "the quantization type is missing and defaults to int, which is an INT8 scheme",
                    "config.json",
                    expected=f'{path}.type = "float"',
                    found="nothing",
                    path=(*place, "type"),
                    what="cache" if place == _CACHE else "",
                    edits=(SetKey((*self.way, *place, "type"), "float"),),
                )
            )
        elif kind != "float":
            what, instead = (f"{role}-integers", ("float",)) if kind == "int" else ("word", ())
            help_text = "ckptkit handles FP8 checkpoints only"
            reader.wrong(f"{path}.type", "float", kind, help_text, what=what, instead=instead)
        bits = _whole(args.get("num_bits", 8), texts=True)
        if bits != 8:
            four = f"{role}-four-bits-alone" if self.weights_alone else f"{role}-four-bits"
            what = four if bits == 4 else f"{role}-bits" if type(bits) is int else ""
            help_text = "ckptkit handles FP8 checkpoints only"
            reader.wrong(f"{path}.num_bits", "8", bits, help_text, what=what, instead=(8,) if what else ())
        if reader.truth(args.get("symmetric"), f"{path}.symmetric", default=True) is False:
            reader.wrong(
                f"{path}.symmetric",
                "true",
                False,
                "FP8 storage has no zero points",
                what=f"{role}-asymmetric",
                instead=(True,),
            )
        for key in sorted(LATER_ARGS):
            name = args.get(key)
            if isinstance(name, str) and name.removeprefix("torch.") not in TORCH_NAMES:
                reader.wrong(f"{path}.{key}", "a type such as torch.float32", name, what="word", instead=(None,))
        if "dynamic" in args and args["dynamic"] is None:
            reader.wrong(f"{path}.dynamic", "true or false", None, what="word")
            return None
        dynamic = reader.truth(args.get("dynamic", False), f"{path}.dynamic")
        if dynamic is None:
            return None
        size = _whole(args.get("group_size"))
        if role != "other" and size is not None and type(size) is not int:
            reader.wrong(f"{path}.group_size", "a whole number", size, what="word")
            return None
        granularity = granularity_of(reader, args, path)
        if lower(args.get("actorder")) in _GROUP_ORDERS and not isinstance(granularity, PerGroup):
            reader.wrong(f"{path}.actorder", "null without groups", args.get("actorder"), what="word")
        return None if granularity is None else Quantization(granularity, dynamic=dynamic)


def lower(value: Any) -> Any:
    """A word in lower case, as the library takes it in any."""
    return value.lower() if isinstance(value, str) else value


def _whole(value: Any, *, texts: bool = False) -> Any:
    """A number as the library takes it where it wants a whole one: one such as 128.0 too, and digits where it reads
    nothing else of a text first.

    >>> _whole(128.0), _whole("8"), _whole("8", texts=True), _whole(1.5)
    (128, '8', 8, 1.5)
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if texts and isinstance(value, str) and value.isdecimal() else value


def granularity_of(reader: ConfigReader, args: Mapping[str, Any], path: str) -> Granularity | None:
    """The granularity that arguments declare; None, and a fault, where they declare none."""
    strategy, group_size = lower(args.get("strategy")), _whole(args.get("group_size"))
    if strategy is None:
        strategy = "tensor" if group_size is None else "channel" if group_size == -1 else "group"
    if strategy == "tensor":
        return PerTensor()
    if strategy == "channel":
        return PerChannel()
    if strategy == "token":
        return PerToken()
    if strategy == "attn_head":
        return PerHead()
    if strategy == "group" and type(group_size) is int and group_size > 0:
        return PerGroup(group_size)
    if strategy == "block":
        size = args.get("block_structure")
        if isinstance(size, str) and all(part.isdigit() for part in size.split("x")):
            size = [int(part) for part in size.split("x")]
        if isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
            return PerBlock(size[0], size[1])
        what = "blocks-without-size" if size is None else "word"
        reader.wrong(f"{path}.block_structure", "[rows, columns]", args.get("block_structure"), what=what)
        return None
    what = "groups-without-size" if strategy == "group" else "other-groups" if strategy == _OTHER_STRATEGY else "word"
    reader.wrong(f"{path}.strategy", "tensor, channel, token, group, block or attn_head", strategy, what=what)
    return None
