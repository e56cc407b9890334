"""Are two checkpoints the same model, whatever their formats, and if not, how far are they apart?

What differs is always said, and counts for the answer. At level FULL every weight whose values differ is measured too,
without being asked: a person who compares a quantized checkpoint with its base knows that they differ, and asks by how
much. That costs no second reading of what is equal, since equal bytes are found equal first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ckptkit.checks.registry import Level
from ckptkit.conversion.comparison import Comparison, Difference, Errors, NotMeasured, worst_first
from ckptkit.conversion.declared import Declared, allows, declared_by, worst_deviation
from ckptkit.conversion.diff_files import config_differences, text_notes
from ckptkit.conversion.diff_pairs import Pair, Stored, pair_up
from ckptkit.conversion.diff_values import ValueComparer, Values
from ckptkit.conversion.plan import Plan
from ckptkit.dtypes import BITS
from ckptkit.model.checkpoint import AttentionScales, Checkpoint
from ckptkit.model.values import SCALE_DTYPES, decode
from ckptkit.operations.operation import Loss
from ckptkit.storage.payload import TensorRef


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

    Weights are paired by name; by the name that transformers gives a stored one in memory; and, where one side has them
    fused or stacked, part by part. At level FULL the result holds the errors of those whose values differ.

    With the ``plan`` by which ``right`` was made of ``left``, what it declares is no difference: schemes that change,
    and values that are as near as the operations promise.
    """
    comparer = Comparer(left, right, progress, level, declared_by(plan))
    differences = tuple(comparer.run())
    return Comparison(
        left.container.label,
        right.container.label,
        differences,
        comparer.module_count,
        comparer.plain_count,
        comparer.compared,
        level,
        tuple(text_notes(left, right)),
        tuple(comparer.accepted),
        comparer.errors(),
    )


class Comparer:
    """One comparison: :meth:`run` gives the differences, and afterwards everything else is known too."""

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
        self.module_count = self.plain_count = 0
        self.base_is_right = _is_quantized(left) and not _is_quantized(right)
        self._values: list[Values] = []
        self._not_measured: list[NotMeasured] = []

    def run(self) -> Iterator[Difference]:
        """Every difference that no plan declared."""
        found = [*self._walk()]
        sources = (self.left.container.source, self.right.container.source)
        comparer = ValueComparer(*sources, base_is_right=self.base_is_right, progress=self._count)
        comparer.run(self._values)
        for item in found:
            if isinstance(item, Difference):
                yield item
            else:
                yield from comparer.differences(item)

    def errors(self) -> Errors | None:
        """How far values are off; None where nothing was found to differ, or nothing looked at."""
        unknown = [
            NotMeasured(item.left.subject, item.reason)
            for item in self._values
            if item.reason is not None and item.may_differ
        ]
        off = [item.errors(base_is_right=self.base_is_right) for item in self._values if item.is_off]
        if not off and not unknown and not self._not_measured:
            return None
        base = "right" if self.base_is_right else "left"
        equal = sum(item.is_equal for item in self._values if not item.parts)
        return Errors(base, worst_first(off), equal, (*self._not_measured, *unknown))

    def _walk(self) -> Iterator[Difference | Values]:
        """Every difference, and in its place what may be one once values are compared."""
        for key, a, b in config_differences(self.left.config, self.right.config):
            yield from self._unless_declared(Difference(key, "config.json", a, b))
        pairs = pair_up(self.left, self.right)
        for whole in pairs.wholes:
            yield Difference(whole.stored.subject, "stored as", *whole.words())
        if self.level is Level.FULL:
            self._not_measured += [NotMeasured(name, reason) for name, reason in pairs.reasons.items()]
        quantized = [pair for pair in pairs.weights if any(side is not None and side.module for side in pair)]
        for pair in quantized:
            yield from self._pair(pair, "quantized module")
        yield from self._kv_cache()
        known = {id(pair) for pair in quantized}
        for pair in pairs.weights:
            if id(pair) not in known:
                yield from self._pair(pair, "tensor")
        for name, ours, theirs in _paired(_outside(self.left), _outside(self.right)):
            yield from self._as_stored(name, ours, theirs, "tensor that is no part of the model")

    def _pair(self, pair: Pair, aspect: str) -> Iterator[Difference | Values]:
        a, b = pair
        if a is None or b is None:
            item = a or b
            if item is not None:
                opaque = () if item.opaque is None else item.opaque.parts.values()
                for name in [tensor.name for tensor in opaque] or [item.subject if item.module else item.name]:
                    yield Difference(name, aspect, _presence(a), _presence(b))
        elif a.opaque is not None and b.opaque is not None:
            yield from self._both_otherwise(a, b)
        else:
            if a.name != b.name:
                yield Difference(a.subject, "name", a.subject, b.subject)
            if a.has_other_scheme(b):
                yield from self._unless_declared(Difference(a.subject, "scheme", a.scheme, b.scheme))
            self.module_count += not (a.is_plain and b.is_plain)
            self.plain_count += a.is_plain and b.is_plain
            yield from self._both(a, b)

    def _both_otherwise(self, a: Stored, b: Stored) -> Iterator[Difference | Values]:
        """Two weights in another quantization than FP8: part by part, and measured where their numbers are known."""
        known = a.has_numbers and b.has_numbers
        if a.storage != b.storage:
            yield Difference(a.subject, "scheme", a.scheme, b.scheme)
            if self.level is Level.FULL and not known:
                self._not_measured.append(NotMeasured(a.subject, f"{a.no_numbers} and {b.storage}"))
        ours, theirs = (() if side.opaque is None else side.opaque.parts.values() for side in (a, b))
        parts: list[Values] = []
        differ = False
        for name, one, other in _paired(ours, theirs):
            self.plain_count += one is not None and other is not None
            for found in self._as_stored(name, one, other, "tensor", None if known else a.no_numbers):
                differ = differ or isinstance(found, Difference)
                parts += [found] if isinstance(found, Values) else []
                yield found
        if known and self.level is Level.FULL and a.shape == b.shape:
            self._values.append(Values(a, b, False, scales_differ=differ, is_told=True, parts=tuple(parts)))

    def _as_stored(
        self, name: str, a: TensorRef | None, b: TensorRef | None, aspect: str, reason: str | None = None
    ) -> Iterator[Difference | Values]:
        """Bytes of which nobody asks for numbers, or for a ``reason`` cannot."""
        if a is None or b is None:
            yield Difference(name, aspect, _presence(a), _presence(b))
        elif (a.dtype, a.shape) != (b.dtype, b.shape):
            yield Difference(name, "dtype and shape", f"{a.dtype} {list(a.shape)}", f"{b.dtype} {list(b.shape)}")
        elif self.level is Level.FULL:
            values = Values(Stored(name, a), Stored(name, b), by_bytes=True, reason=reason, has_numbers=False)
            self._values.append(values)
            yield values

    def _both(self, a: Stored, b: Stored) -> Iterator[Difference | Values]:
        """What both sides have: modules with their scales, or weights alone."""
        loss = self.declared.loss_of(b.module or b.tensor)
        is_part = a.part is not None or b.part is not None
        judged = loss is not None and self.level is Level.FULL and not is_part
        if judged and loss is not None:
            yield from self._near(a, b, loss)
        ours, theirs = a.module, b.module
        if ours is None or theirs is None or is_part:
            if not judged:
                yield from self._weights(a, b)
            return
        changed = (a.subject, "scheme", b.scheme) in self.declared.changes
        if not judged:
            accepted = len(self.accepted)
            scales = [*self._scale(a.subject, "weight scale", ours.weight_scale, theirs.weight_scale, finer=changed)]
            differ = bool(scales) or len(self.accepted) != accepted or ours.scheme.weight != theirs.scheme.weight
            yield from self._weights(a, b, scales_differ=differ)
            yield from scales
        if not changed or theirs.input_scale is not None or theirs.scheme.has_static_input:
            yield from self._scale(a.subject, "input scale", ours.input_scale, theirs.input_scale)

    def _weights(self, a: Stored, b: Stored, *, scales_differ: bool = False) -> Iterator[Difference | Values]:
        """Shapes and types, and what is to be compared of the values. Scales that differ are told by themselves."""
        for item in (a, b):
            if not item.has_numbers:
                if self.level is Level.FULL:
                    self._not_measured.append(NotMeasured(a.subject, item.no_numbers))
                return
        is_other = a.opaque is not None or b.opaque is not None
        alike = not is_other and a.is_plain == b.is_plain and a.part is None and b.part is None
        if a.shape != b.shape or (alike and a.dtype != b.dtype):
            yield Difference(
                a.stored_name, "dtype and shape", f"{a.dtype} {list(a.shape)}", f"{b.dtype} {list(b.shape)}"
            )
        if self.level is not Level.FULL:
            return
        if a.shape != b.shape:
            self._not_measured.append(NotMeasured(a.subject, "its shapes differ"))
            return
        values = Values(a, b, alike and a.dtype == b.dtype, scales_differ, alike and a.dtype != b.dtype)
        self._values.append(values)
        yield values

    def _kv_cache(self) -> Iterator[Difference]:
        a, b = self.left.kv_cache, self.right.kv_cache
        left = {item.module: item for item in a.attention} if a else {}
        right = {item.module: item for item in b.attention} if b else {}
        schemes = [cache.scheme.quantization if cache and cache.scheme else None for cache in (a, b)]
        if schemes[0] != schemes[1]:
            found = Difference("KV cache", "scheme", *(str(scheme or "none") for scheme in schemes))
            yield from self._unless_declared(found, str(b.scheme if b and b.scheme else "none"))
        for module in {**left, **right}:
            ours = left.get(module, AttentionScales(module)).stored()
            theirs = right.get(module, AttentionScales(module)).stored()
            changed = (module, "attention scales", ", ".join(theirs) or "none") in self.declared.changes
            for role in {**ours, **theirs}:
                a_scale, b_scale = ours.get(role), theirs.get(role)
                if changed and (a_scale is None or b_scale is None):
                    self.accepted.append(Difference(module, f"{role} scale", _presence(a_scale), _presence(b_scale)))
                else:
                    yield from self._scale(module, f"{role} scale", a_scale, b_scale)

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

    def _near(self, a: Stored, b: Stored, loss: Loss) -> Iterator[Difference]:
        """Where weights are further from each other than was promised."""
        worst = worst_deviation(self.left, a, self.right, b, loss, self._count)
        if worst is None:
            yield Difference(a.subject, "dequantized weight", str(list(a.shape)), str(list(b.shape)))
        elif worst.differs:
            what = f"dequantized weight, the worst at {worst.where}"
            found = Difference(a.subject, what, f"{worst.left:g}", f"{worst.right:g}")
            if worst.allowed:
                self.accepted.append(found)
            else:
                yield found

    def _count(self, nbytes: int) -> None:
        self.compared += nbytes
        self.progress(nbytes)

    def _unless_declared(self, found: Difference, after: str | None = None) -> Iterator[Difference]:
        """The difference, unless a plan announced it: in the words of the right side, or as ``after``."""
        if (found.subject, found.aspect, after or found.right) in self.declared.changes:
            self.accepted.append(found)
        else:
            yield found


def _is_quantized(checkpoint: Checkpoint) -> bool:
    return bool(checkpoint.modules or checkpoint.opaque)


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
