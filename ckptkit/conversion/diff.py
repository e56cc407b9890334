"""Are two checkpoints the same model, whatever their formats?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ckptkit.checks.registry import Level
from ckptkit.conversion.declared import Declared, allows, declared_by, worst_deviation
from ckptkit.conversion.diff_files import config_differences, text_notes
from ckptkit.conversion.plan import Plan
from ckptkit.dtypes import BITS
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, QuantizedModule
from ckptkit.model.values import SCALE_DTYPES, decode
from ckptkit.operations.operation import Loss
from ckptkit.storage.payload import TensorRef

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Difference:
    """One thing in which two checkpoints differ: where, what, and what each side has."""

    subject: str
    aspect: str
    left: str
    right: str

    def to_json(self) -> dict[str, str]:
        """A JSON object with the fields as keys."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    At level FULL, ``same`` means that every dequantized value is equal bit for bit; below it, that nothing differs
    in what was read. ``notes`` are differences that change no number: of the tokenizer, or in how text is generated.
    ``declared`` are those that the plan of a conversion had announced, values within what its operations promise
    included: they do not count.
    """

    left: str
    right: str
    differences: tuple[Difference, ...]
    modules: int
    tensors: int
    bytes_compared: int
    level: Level = Level.FULL
    notes: tuple[str, ...] = ()
    declared: tuple[Difference, ...] = ()

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """The comparison as described by ``schemas/comparison.json``."""
        return {
            "left": self.left,
            "right": self.right,
            "same": self.same,
            "modules": self.modules,
            "plain_tensors": self.tensors,
            "bytes_compared": self.bytes_compared,
            "level": self.level.name.lower(),
            "differences": [difference.to_json() for difference in self.differences],
            "declared": [difference.to_json() for difference in self.declared],
            "notes": list(self.notes),
        }


def compare(
    left: Checkpoint,
    right: Checkpoint,
    progress: Callable[[int], None] = lambda nbytes: None,
    level: Level = Level.FULL,
    plan: Plan | None = None,
) -> Comparison:
    """Compare the canonical models: config, schemes, weights, scales as values, KV cache, and all other tensors.

    Tensors that are stored but are no part of the model count too. Spelling, scale shapes and scale dtypes do not;
    numbers do. Two FP8 weights with equal bytes and equal scale values dequantize to equal values. Below level FULL
    weights are compared by dtype and shape only, and at level HEADERS scales by their presence.

    With the ``plan`` by which ``right`` was made of ``left``, what it declares is no difference: schemes that change,
    and values that are as near as the operations promise.
    """
    comparer = _Comparer(left, right, progress, level, declared_by(plan))
    differences = tuple(comparer.run())
    return Comparison(
        left.container.label,
        right.container.label,
        differences,
        len(left.modules.keys() & right.modules.keys()),
        comparer.plain_count,
        comparer.compared,
        level,
        tuple(text_notes(left, right)),
        tuple(comparer.accepted),
    )


class _Comparer:
    def __init__(
        self,
        left: Checkpoint,
        right: Checkpoint,
        progress: Callable[[int], None],
        level: Level,
        declared: Declared,
    ) -> None:
        self.left, self.right, self.progress, self.level, self.declared = left, right, progress, level, declared
        self.accepted: list[Difference] = []
        wanted = level >= Level.SCALES
        self.scales = [dict(side.container.read_many(side.scale_tensors() if wanted else ())) for side in (left, right)]
        self.compared = 0
        self.plain_count = 0

    def run(self) -> Iterator[Difference]:
        for key, a, b in config_differences(self.left.config, self.right.config):
            yield Difference(key, "config.json", a, b)
        yield from self._modules()
        yield from self._kv_cache()
        for name, ours, theirs in _paired(_as_stored(self.left), _as_stored(self.right)):
            self.plain_count += ours is not None and theirs is not None
            yield from self._tensor(name, "tensor", ours, theirs)
        for name, ours, theirs in _paired(_outside(self.left), _outside(self.right)):
            yield from self._tensor(name, "tensor that is no part of the model", ours, theirs)

    def _modules(self) -> Iterator[Difference]:
        left, right = self.left.modules, self.right.modules
        for name in {**left, **right}:
            a, b = left.get(name), right.get(name)
            if a is None or b is None:
                yield Difference(name, "quantized module", _presence(a), _presence(b))
                continue
            changed = (name, "scheme", str(b.scheme)) in self.declared.changes
            if a.scheme != b.scheme:
                yield from self._unless_declared(Difference(name, "scheme", str(a.scheme), str(b.scheme)))
            loss = self.declared.loss_of_weight(b)
            if loss is not None and self.level is Level.FULL:
                yield from self._near(a, b, loss)
            else:
                yield from self._bytes(a.weight, b.weight)
                yield from self._scale(name, "weight scale", a.weight_scale, b.weight_scale, finer=changed)
            if changed and b.input_scale is None and not b.scheme.has_static_input:
                continue
            yield from self._scale(name, "input scale", a.input_scale, b.input_scale)

    def _kv_cache(self) -> Iterator[Difference]:
        a, b = self.left.kv_cache, self.right.kv_cache
        left = {item.module: item for item in a.attention} if a else {}
        right = {item.module: item for item in b.attention} if b else {}
        schemes = [cache.scheme.quantization if cache and cache.scheme else None for cache in (a, b)]
        if schemes[0] != schemes[1]:
            found = Difference("KV cache", "scheme", *(str(scheme or "none") for scheme in schemes))
            yield from self._unless_declared(found)
        for module in {**left, **right}:
            ours = left.get(module, AttentionScales(module)).stored()
            theirs = right.get(module, AttentionScales(module)).stored()
            for role in {**ours, **theirs}:
                yield from self._scale(module, f"{role} scale", ours.get(role), theirs.get(role))

    def _tensor(self, name: str, aspect: str, a: TensorRef | None, b: TensorRef | None) -> Iterator[Difference]:
        if a is None or b is None:
            yield Difference(name, aspect, _presence(a), _presence(b))
        else:
            yield from self._bytes(a, b)

    def _bytes(self, a: TensorRef, b: TensorRef) -> Iterator[Difference]:
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            yield Difference(a.name, "dtype and shape", f"{a.dtype} {list(a.shape)}", f"{b.dtype} {list(b.shape)}")
            return
        if self.level < Level.FULL:
            return
        first: int | None = None
        for offset in range(0, a.nbytes, _CHUNK):
            size = min(_CHUNK, a.nbytes - offset)
            ours = self.left.container.source.read(a.shard, a.start + offset, size)
            theirs = self.right.container.source.read(b.shard, b.start + offset, size)
            self.compared += size
            self.progress(size)
            if first is None and ours != theirs:
                first = offset + next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=True)) if x != y)
                width = max(1, BITS[a.dtype] // 8)
                element = first // width
                begin = element * width - offset
                left, right = ours[begin : begin + width].hex(), theirs[begin : begin + width].hex()
                yield Difference(a.name, f"values, the first at element {element}", f"0x{left}", f"0x{right}")

    def _scale(
        self, subject: str, aspect: str, a: TensorRef | None, b: TensorRef | None, *, finer: bool = False
    ) -> Iterator[Difference]:
        """Where two scales differ; with ``finer`` each value of the left one may stand several times in the right."""
        if a is None or b is None:
            if a is not b:
                yield Difference(subject, aspect, _presence(a), _presence(b))
            return
        if self.level < Level.SCALES:
            return
        left, right = self.scales[0][a], self.scales[1][b]
        self.compared += len(left)
        if a.dtype == b.dtype and left == right:
            return
        if not SCALE_DTYPES.issuperset((a.dtype, b.dtype)):
            words = [f"{side.dtype} {list(side.shape)}" for side in (a, b)]
            found = Difference(subject, f"{aspect}, of whose dtype no value can be told", *words)
            yield from self._unless_declared(found)
            return
        ours, theirs = _decoded(a.dtype, left), _decoded(b.dtype, right)
        if finer and ours and len(theirs) % len(ours) == 0:
            ours = [value for value in ours for _ in range(len(theirs) // len(ours))]
        if len(ours) != len(theirs):
            yield Difference(subject, f"{aspect} shape", str(list(a.shape)), str(list(b.shape)))
        elif ours != theirs:
            index = next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=True)) if x != y)
            found = Difference(
                subject, f"{aspect}, the first at index {index}", f"{ours[index]:g}", f"{theirs[index]:g}"
            )
            loss = self.declared.losses.get(b.name)
            if loss is not None and all(allows(loss, x, y) for x, y in zip(ours, theirs, strict=True)):
                self.accepted.append(found)
            else:
                yield found

    def _near(self, a: QuantizedModule, b: QuantizedModule, loss: Loss) -> Iterator[Difference]:
        """Where dequantized weights are further from each other than was promised."""
        worst = worst_deviation(self.left, a, self.right, b, loss, self._count)
        if worst is None:
            yield Difference(a.name, "dequantized weight", str(list(a.weight.shape)), str(list(b.weight.shape)))
            return
        if worst.differs:
            found = Difference(
                a.name, f"dequantized weight, the worst at {worst.where}", f"{worst.left:g}", f"{worst.right:g}"
            )
            if worst.allowed:
                self.accepted.append(found)
            else:
                yield found

    def _count(self, nbytes: int) -> None:
        self.compared += nbytes
        self.progress(nbytes)

    def _unless_declared(self, found: Difference) -> Iterator[Difference]:
        if (found.subject, found.aspect, found.right) in self.declared.changes:
            self.accepted.append(found)
        else:
            yield found


def _as_stored(checkpoint: Checkpoint) -> tuple[TensorRef, ...]:
    """Tensors that are compared as they are stored: what is not quantized, and what is in another way than FP8."""
    return (*checkpoint.plain, *checkpoint.opaque_tensors())


def _outside(checkpoint: Checkpoint) -> tuple[TensorRef, ...]:
    """Tensors that the canonical model has no place for: stray scales, quantizers, weights that nothing declares."""
    return (*checkpoint.stored_only, *checkpoint.orphans, *checkpoint.foreign)


def _paired(
    left: Iterable[TensorRef], right: Iterable[TensorRef]
) -> Iterator[tuple[str, TensorRef | None, TensorRef | None]]:
    """Tensors by name, with what each side has of it."""
    ours, theirs = ({tensor.name: tensor for tensor in side} for side in (left, right))
    for name in {**ours, **theirs}:
        yield name, ours.get(name), theirs.get(name)


def _decoded(dtype: str, data: bytes) -> list[float]:
    width = BITS[dtype] // 8
    steps = range(0, len(data), width)
    return [decode(dtype, int.from_bytes(data[begin : begin + width], "little")) for begin in steps]


def _presence(item: object) -> str:
    return "absent" if item is None else "present"
