"""What lies in a folder, whatever it is: tensors by kind and type, parameters, and the models below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol

from ckptkit.dtypes import BITS
from ckptkit.errors import plural
from ckptkit.model import names
from ckptkit.record import record
from ckptkit.shown import Look, Shown
from ckptkit.storage.payload import TensorRef
from ckptkit.storage.traffic import Traffic


class Kind(str, Enum):
    """What a tensor is to a model, as its name and its number of dimensions tell."""

    LINEAR = "linear weights"
    EXPERT = "expert weights"
    EMBEDDING = "embeddings"
    NORM = "norms"
    BIAS = "biases"
    SCALE = "scales"
    OTHER = "other"


#: Types of integers that hold several elements each where a quantizer has packed a weight.
_PACKING = frozenset({"U8", "U16", "I16", "U32", "I32", "U64", "I64"})
#: Last parts of names of the parameters of FP8 quantizers, whoever wrote them.
_SCALES = frozenset(
    {
        *("weight_scale", "weight_scale_inv", "weight_scale_2", "weight_global_scale", "weight_zero_point", "g_idx"),
        *("input_scale", "input_scale_2", "input_global_scale", "output_scale", "activation_scale", "act_scale"),
        *("k_scale", "v_scale", "q_scale", "kv_scale", "prob_output_scale", "weight_shape", "weight_g_idx"),
        *("qscale_weight", "qscale_act", "scale_weight", "scale_input"),  # Mistral's own names, and ComfyUI's
    }
)
#: Last parts of names of layer norms without "norm" in them.
_NORMS = frozenset({"ln", "ln_1", "ln_2", "ln_f", "ln_post", "ln_pre", "ln_cross", "ln1", "ln2"})


class Naming(Protocol):
    """How a quantizer calls what it stores: whole last parts of names, or ends of them where they begin with ``_``."""

    @property
    def packed(self) -> tuple[str, ...]:
        """Weights whose elements may be packed into integers, beside ``weight``."""

    @property
    def scales(self) -> tuple[str, ...]:
        """Everything else that belongs to the quantization: scales, zero points, code books."""


@record
class KindCount:
    """The tensors of one kind. ``parameters`` None: they are packed, and the width of an element is not known."""

    kind: Kind
    tensors: int
    nbytes: int
    parameters: int | None


@record
class Tally:
    """Tensors by kind and by dtype, the largest first; ``dtypes`` is code -> (tensors, bytes)."""

    kinds: tuple[KindCount, ...] = ()
    dtypes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def tensors(self) -> int:
        """How many there are."""
        return sum(count for count, _ in self.dtypes.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(nbytes for _, nbytes in self.dtypes.values())

    @property
    def parameters(self) -> int | None:
        """Elements of all that is no scale; None where the width of some is not known."""
        counts = [count.parameters for count in self.kinds]
        return None if None in counts else sum(count for count in counts if count is not None)

    def times(self, number: int) -> Tally:
        """As many of each."""
        kinds = []
        for count in self.kinds:
            parameters = None if count.parameters is None else number * count.parameters
            kinds.append(KindCount(count.kind, number * count.tensors, number * count.nbytes, parameters))
        dtypes = {code: (number * tensors, number * nbytes) for code, (tensors, nbytes) in self.dtypes.items()}
        return Tally(tuple(kinds), dtypes)

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        kinds: dict[Kind, KindCount] = {}
        for item in (*self.kinds, *other.kinds):
            known = kinds.get(item.kind, KindCount(item.kind, 0, 0, 0))
            both = None if None in (known.parameters, item.parameters) else known.parameters + item.parameters  # type: ignore[operator]
            kinds[item.kind] = KindCount(item.kind, known.tensors + item.tensors, known.nbytes + item.nbytes, both)
        dtypes = dict(self.dtypes)
        for code, (count, nbytes) in other.dtypes.items():
            before = dtypes.get(code, (0, 0))
            dtypes[code] = (before[0] + count, before[1] + nbytes)
        return Tally(_by_size(kinds.values()), _largest_first(dtypes))


def tally(
    tensors: Iterable[TensorRef],
    naming: Naming | None = None,
    bits: int | None = None,
    known: Mapping[str, tuple[Kind, int | None]] = MappingProxyType({}),
) -> Tally:
    """Count tensors by kind and dtype, with one look into a table for each.

    ``naming`` is how the quantizer calls its tensors, ``bits`` the width of an element that it packs. ``known`` holds
    what is known of single tensors: their kind and the width of an element, None where that is not known.
    """
    packed_ends = ("weight", *(naming.packed if naming else ()))
    scale_ends = naming.scales if naming else ()
    totals: dict[tuple[Kind, str, bool, int | None], list[int]] = {}
    places: dict[str, dict[tuple[str, str, int], list[int]]] = {}
    last_owner, place = "", places.setdefault("", {})
    for name, dtype, shape, _, _, nbytes in tensors:
        owner, _, last = name.rpartition(".")
        if owner != last_owner:  # a module's tensors mostly follow each other
            last_owner = owner
            end = owner[owner.rfind(".") + 1 :]
            kind_of_owner = f"{end}.experts" if ".experts." in owner else end
            place = places.setdefault(kind_of_owner, {})
        key = (last, dtype, len(shape))
        total = place.get(key)
        if total is None or name in known:
            end = owner[owner.rfind(".") + 1 :]
            kind, may_be_packed = _kind(end, last, len(shape), ".experts." in name, packed_ends, scale_ends)
            kind, width = known.get(name, (kind, bits))
            is_packed = kind is not Kind.SCALE if name in known else may_be_packed and dtype in _PACKING
            total = totals.setdefault((kind, dtype, is_packed, width if is_packed else None), [0, 0])
            if name not in known:
                place[key] = total
        total[0] += 1
        total[1] += nbytes
    found_in_all = Tally()
    for (kind, dtype, is_packed, width), (count, nbytes) in totals.items():
        elements = None if is_packed and not width else 8 * nbytes // (width or BITS[dtype])
        parameters = 0 if kind is Kind.SCALE else elements
        found_in_all += Tally((KindCount(kind, count, nbytes, parameters),), {dtype: (count, nbytes)})
    return found_in_all


def _kind(
    owner: str, last: str, dimensions: int, in_experts: bool, packed: tuple[str, ...], scales: tuple[str, ...]
) -> tuple[Kind, bool]:
    """What a tensor of such a name is, and whether its elements may be packed."""
    if last in _SCALES or _ends(last, scales):
        return Kind.SCALE, False
    weight = _ends(last, packed)
    if last == "bias" or last.endswith("_bias"):
        return Kind.BIAS, False
    if dimensions < 2 and ("norm" in owner.lower() or "norm" in last.lower() or owner in _NORMS):
        return Kind.NORM, False
    if in_experts and dimensions > 1:
        return Kind.EXPERT, weight
    if dimensions == 2 and last == "weight" and names.is_embedding(owner):
        return Kind.EMBEDDING, weight
    if dimensions > 1 and weight and (dimensions == 2 or last != "weight"):
        return Kind.LINEAR, weight
    return Kind.OTHER, weight


def _ends(last: str, ends: tuple[str, ...]) -> bool:
    return any(last == end or (end.startswith("_") and last.endswith(end)) for end in ends)


def _by_size(counts: Iterable[KindCount]) -> tuple[KindCount, ...]:
    return tuple(sorted(counts, key=lambda count: -count.nbytes))


def _largest_first(dtypes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return dict(sorted(dtypes.items(), key=lambda item: -item[1][1]))


@record
class PartOfFolder:
    """A checkpoint below the folder, or a file of another format. ``tally`` None: it was listed and not read."""

    name: str
    what: str
    files: int
    nbytes: int
    quantization: str | None = None
    tally: Tally | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "name": self.name,
            "what": self.what,
            "quantization": self.quantization,
            "files": self.files,
            "bytes": self.nbytes,
            "tensors": self.tally.tensors if self.tally else None,
            "parameters": self.tally.parameters if self.tally else None,
        }


@record(kw_only=True, repr=False)
class Inventory(Shown):
    """What a folder holds, whether or not there is a reader for it.

    ``what`` is what kind of thing it is and ``quantization`` how it is quantized, in words; ``architecture`` is the
    first that config.json names. Counts are those of the whole model; a folder of several models has none of its own,
    and ``parts`` says what each is. ``notes`` are whatever somebody should know.
    """

    label: str
    what: str
    quantization: str
    architecture: str | None
    shards: int
    tally: Tally
    parts: tuple[PartOfFolder, ...] = ()
    notes: tuple[str, ...] = ()
    traffic: Traffic | None = None

    def _look(self) -> Look:
        parameters = "parameters not known" if self.parameters is None else plural(self.parameters, "parameter")
        counts = [plural(self.tensors, "tensor"), f"{self.data_bytes:,} bytes", plural(self.shards, "shard")]
        rows = [(count.kind.value, count.tensors, count.nbytes, count.parameters) for count in self.tally.kinds]
        parts = [(part.name, part.what, part.nbytes, part.quantization) for part in self.parts]
        if parts and not rows:
            columns = ("part", "what", "bytes", "quantization")
            return Look(self.label, [self.what, *counts, parameters, self.quantization], columns, parts, len(parts))
        columns = ("kind", "tensors", "bytes", "parameters")
        return Look(self.label, [self.what, *counts, parameters, self.quantization], columns, rows, len(rows))

    @property
    def tensors(self) -> int:
        """How many tensors there are."""
        return self.tally.tensors

    @property
    def data_bytes(self) -> int:
        """Bytes of tensor data over all shards."""
        return self.tally.nbytes

    @property
    def parameters(self) -> int | None:
        """Elements of all weights, unpacked; None where the width of one is not known."""
        return self.tally.parameters

    @property
    def dtypes(self) -> dict[str, int]:
        """Bytes by dtype, the largest first."""
        return {code: nbytes for code, (_, nbytes) in self.tally.dtypes.items()}

    def to_json(self) -> dict[str, Any]:
        """A JSON object, as described by ``schemas/summary.json``."""
        return {
            "path": self.label,
            "what": self.what,
            "quantization": self.quantization,
            "format": None,
            "dialect": None,
            "scheme": None,
            "architecture": self.architecture,
            "shards": self.shards,
            "tensors": self.tensors,
            "data_bytes": self.data_bytes,
            "parameters": self.parameters,
            "bytes_by_dtype": self.dtypes,
            "tensors_by_dtype": {code: count for code, (count, _) in self.tally.dtypes.items()},
            "kinds": [
                {"kind": c.kind.value, "tensors": c.tensors, "bytes": c.nbytes, "parameters": c.parameters}
                for c in self.tally.kinds
            ],
            "parts": [part.to_json() for part in self.parts],
            "notes": list(self.notes),
            **({"traffic": self.traffic.to_json()} if self.traffic else {}),
        }
