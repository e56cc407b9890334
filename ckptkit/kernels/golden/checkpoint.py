"""The golden check on a checkpoint's own weights and scales: one product per layer, on seeded activations.

The activations depend on the module's name and K alone (and, where the input scale is static, on its power of two), so
a checkpoint and its conversion into another format must give the same bits.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ckptkit.dtypes import DTYPES, FP8_WEIGHT
from ckptkit.errors import UsageError
from ckptkit.kernels import quantize, scaled_mm
from ckptkit.kernels.build import import_torch, toolkit
from ckptkit.kernels.configs import ACCUMULATE, Config, Problem, fallback
from ckptkit.kernels.golden import inputs, tolerance
from ckptkit.kernels.golden.check import INTERPRETED, arithmetic_of
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import Scaling
from ckptkit.model.checkpoint import AttentionScales, Checkpoint, QuantizedModule
from ckptkit.model.names import natural
from ckptkit.record import record
from ckptkit.storage.payload import ByteRange, TensorRef

if TYPE_CHECKING:
    import torch

#: The seed of all activations.
SEED = 20
#: Output channels of a layer that the interpreter computes: whole blocks of 128, more than one.
_REDUCED_ROWS = 256
_TOKENS = {True: 5, False: 33}


@record
class LayerOutcome:
    """What one layer, or one attention module's KV scales, gave. ``digest`` is compared between formats."""

    name: str
    what: str
    shape: tuple[int, ...]
    reason: str | None
    digest: str | None = None
    skipped: str | None = None
    errors: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the layer."""
        return self.reason is None

    def to_json(self) -> dict[str, Any]:
        """The layer as a part of what ``golden check --json`` prints."""
        verdict = "skip" if self.skipped else "pass" if self.passed else "fail"
        return {
            "name": self.name,
            "what": self.what,
            "shape": list(self.shape),
            "verdict": verdict,
            "reason": self.reason or self.skipped,
            "errors": dict(self.errors),
            "sha256": self.digest,
        }


def choose_modules(checkpoint: Checkpoint, patterns: Iterable[str] = ()) -> list[QuantizedModule]:
    """The modules that match one of the globs; without any, the first of each scheme and shape."""
    ordered = sorted(checkpoint.modules.values(), key=lambda module: natural(module.name))
    wanted = list(patterns)
    if wanted:
        found = [m for m in ordered if any(fnmatch.fnmatchcase(m.name, pattern) for pattern in wanted)]
        if not found:
            raise UsageError(f"no FP8 module of {checkpoint.container.label} matches {', '.join(wanted)}")
        return found
    first: dict[Any, QuantizedModule] = {}
    for module in ordered:
        first.setdefault((module.scheme, module.weight.shape), module)
    return list(first.values())


def run_checkpoint(
    checkpoint: Checkpoint,
    device: Any,
    patterns: Iterable[str] = (),
    on_outcome: Callable[[LayerOutcome], None] = lambda outcome: None,
) -> list[LayerOutcome]:
    """Run the chosen layers, then the KV scales of every attention module."""
    found = []
    for outcome in _outcomes(checkpoint, device, patterns):
        on_outcome(outcome)
        found.append(outcome)
    return found


@record
class Comparison:
    """Two checkpoints' outcomes side by side: how many gave the same bits, and one sentence for each that did not."""

    same: int
    differences: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many layers were compared."""
        return self.same + len(self.differences)

    @property
    def line(self) -> str:
        """
        >>> Comparison(12, ()).line, Comparison(1, ("a: outputs differ",)).line
        ('12 layers give the same bits', '1 of 2 layers does not give the same bits')
        """
        wrong, total = len(self.differences), self.total
        if not wrong:
            return f"{total} {'layer gives' if total == 1 else 'layers give'} the same bits"
        return f"{wrong} of {total} layers {'does' if wrong == 1 else 'do'} not give the same bits"


def compare(left: Iterable[LayerOutcome], right: Iterable[LayerOutcome]) -> Comparison:
    """Whether two checkpoints give the same bits. What was skipped in both has no bits, and does not count."""
    first, second = ({outcome.name: outcome for outcome in side} for side in (left, right))
    same, differences = 0, []
    for name in sorted(first.keys() | second.keys(), key=natural):
        if name not in first or name not in second:
            differences.append(f"{name} was run in only one of the two")
        elif first[name].digest != second[name].digest:
            differences.append(f"{name}: outputs differ ({first[name].what}; {second[name].what})")
        else:
            same += first[name].digest is not None
    return Comparison(same, tuple(differences))


def _outcomes(checkpoint: Checkpoint, device: Any, patterns: Iterable[str]) -> Iterator[LayerOutcome]:
    for module in choose_modules(checkpoint, patterns):
        yield run_module(checkpoint, module, device)
    if checkpoint.kv_cache is not None:
        for attention in checkpoint.kv_cache.attention:
            yield run_kv(checkpoint, attention)


def run_module(checkpoint: Checkpoint, module: QuantizedModule, device: Any) -> LayerOutcome:
    """One layer: its weight and scales times seeded activations, against float64."""
    what, shape = str(module.scheme), tuple(module.weight.shape)
    if module.weight_scale is None or (module.scheme.has_static_input and module.input_scale is None):
        return LayerOutcome(module.name, what, shape, "a scale is missing from the files")
    try:
        scaling = Scaling.of(module.scheme)
    except UsageError as error:
        return LayerOutcome(module.name, what, shape, None, skipped=error.message)
    kit = toolkit()
    operands = load(checkpoint, module, scaling, device, reduced=kit.interpreted)
    native = scaled_mm.native(operands)
    reasons, digests, worst = [], set(), None
    for accumulate in ACCUMULATE:
        limit = tolerance.tolerance(arithmetic_of(kit, scaling, accumulate), kit.torch.float32, shape[1])
        for config in _configs(operands, accumulate):
            out = scaled_mm.run(native, config, accumulate, kit.torch.float32)
            worst = tolerance.errors(out, operands, limit)
            reason = tolerance.verdict(worst, limit)
            if reason is not None:
                reasons.append(f"{config.name} {accumulate}: {reason}")
            digests.add((config.name, accumulate, inputs.output_digest(out)))
    combined = hashlib.sha256(repr(sorted(digests)).encode()).hexdigest()
    norms = {} if worst is None else worst.to_json()
    return LayerOutcome(module.name, what, shape, "; ".join(reasons) or None, combined, None, norms)


def _configs(operands: Operands, accumulate: Any) -> list[Config]:
    """The device's choice and the portable kernel."""
    kit = toolkit()
    m, n, k = operands.sizes
    portable = fallback(Problem(m, n, k, accumulate, operands.scaling.depends_on_k))
    if not kit.interpreted:
        return list(dict.fromkeys((scaled_mm.choose(operands, accumulate, kit.torch.float32), portable)))
    fitting = [c for c in INTERPRETED if scaled_mm.misfit(c, operands, kit.torch.float32) is None]
    return [config.with_split(m, n, k) for config in (fitting[0], fitting[-1])]


def load(checkpoint: Checkpoint, module: QuantizedModule, scaling: Scaling, device: Any, *, reduced: bool) -> Operands:
    """The operands of a layer; ``reduced``: its first output channels only, and fewer tokens."""
    torch = import_torch()
    n, k = module.weight.shape
    kept = min(n, _REDUCED_ROWS) if reduced else n
    span = ByteRange(module.weight.shard, module.weight.start, kept * k)
    raw = torch.frombuffer(bytearray(checkpoint.container.read_range(span)), dtype=torch.uint8)
    weight = raw.view(getattr(torch, str(DTYPES[module.weight.dtype].torch_name))).reshape(kept, k)
    if weight.dtype not in (torch.float8_e4m3fn, torch.float8_e4m3fnuz):
        raise UsageError(f"{module.name}: no kernel multiplies {module.weight.dtype} weights")
    weight_scale = read_scale(checkpoint, module.weight_scale).reshape(scaling.b_shape(n, k))
    if weight_scale.ndim:
        weight_scale = weight_scale[: scaling.b_shape(kept, k)[0]].contiguous()
    input_scale = None
    if module.input_scale is not None:
        input_scale = read_scale(checkpoint, module.input_scale).reshape(())
    x = _activations(module.name, (_TOKENS[reduced], k), input_scale)
    codes, a_scale = quantize.activations(x, scaling, input_scale)
    if weight.dtype != codes.dtype:
        codes, a_scale = quantize.to_fnuz(codes, a_scale)
    return Operands(codes.to(device), weight.to(device), a_scale.to(device), weight_scale.to(device), scaling, None)


def read_scale(checkpoint: Checkpoint, tensor: TensorRef | None) -> torch.Tensor:
    """A stored scale as float32, in its stored shape; every stored dtype widens exactly."""
    torch = import_torch()
    if tensor is None:
        raise UsageError("a scale is missing from the files")
    raw = torch.frombuffer(bytearray(checkpoint.container.read(tensor)), dtype=torch.uint8)
    dtype = getattr(torch, str(DTYPES[tensor.dtype].torch_name))
    return raw.view(dtype).reshape(tensor.shape).to(torch.float32)


def _activations(name: str, shape: tuple[int, ...], scale: torch.Tensor | None) -> torch.Tensor:
    """Bell-shaped bf16 activations; under a static scale, as large as it was made for."""
    torch = import_torch()
    size = 1.0
    if scale is not None and bool(torch.isfinite(scale).all()) and bool((scale > 0).all()):
        size = 2.0 ** math.floor(math.log2(float(scale.max()) * quantize.E4M3_MAX / 3))
    return torch.from_numpy(inputs.bell(SEED, name, shape) * size).to(torch.bfloat16)


def run_kv(checkpoint: Checkpoint, attention: AttentionScales) -> LayerOutcome:
    """Quantize and dequantize seeded keys and values with the stored scales: half a step is all that may be lost."""
    torch = import_torch()
    stored = {role: tensor for role, tensor in attention.stored().items() if role in ("k", "v")}
    reasons, parts = [], []
    for role, tensor in stored.items():
        scale = read_scale(checkpoint, tensor).reshape(-1)
        if not bool((torch.isfinite(scale) & (scale > 0)).all()):
            reasons.append(f"{role}_scale is not finite and positive")
            continue
        # [tokens, heads, head size]; one scale for all heads or one for each.
        x = _activations(f"{attention.module}.{role}", (16, max(2, len(scale)), 64), scale).float()
        x[0] = scale[:, None] * 1000.0
        codes = quantize.cache(x, scale[:, None])
        back = codes.float() * scale[:, None]
        reach = x.clamp(-quantize.E4M3_MAX * scale[:, None], quantize.E4M3_MAX * scale[:, None])
        # Half a step: 2**-4 of a normal number, 2**-10 of the scale among the subnormal ones; the rest is float32.
        allowed = torch.maximum(reach.abs() * 2.0**-4, scale[:, None] * 2.0**-10) * (1 + 1e-6)
        if bool(((back - reach).abs() > allowed).any()) or bool(torch.isnan(back).any()):
            reasons.append(f"{role}: a value moved by more than half a step of {FP8_WEIGHT}")
        parts += [codes, back]
    shown = ", ".join(f"{role} {tensor.name}" for role, tensor in stored.items())
    name = f"{attention.module} KV cache"
    return LayerOutcome(name, shown or "no k or v scale", (), "; ".join(reasons) or None, inputs.digest(*parts))
