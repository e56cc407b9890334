"""Run golden cases on this machine, every kernel variant that can take them, and say what differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ckptkit.kernels import quantize, scaled_mm
from ckptkit.kernels.build import Toolkit, toolkit
from ckptkit.kernels.configs import ACCUMULATE, Accumulate, Config, Problem, fallback, tables
from ckptkit.kernels.golden import inputs, tolerance
from ckptkit.kernels.golden.inputs import Case
from ckptkit.kernels.scaled_mm import Operands
from ckptkit.kernels.scaling import GROUP_BLOCK, TOKEN_CHANNEL, Scaling
from ckptkit.record import record

if TYPE_CHECKING:
    import torch

#: What the interpreter runs: each kernel, each of its branches, tiles smaller than the cases.
INTERPRETED = (
    Config("portable", 32, 64, 128, 4, 2),
    Config("persistent", 64, 64, 128, 4, 2),
    Config("persistent", 64, 128, 128, 4, 2, subtile=True),
    Config("persistent", 128, 64, 128, 4, 2, specialize=True),
    Config("decode", 16, 64, 128, 4, 2),
    Config("decode", 16, 128, 128, 4, 2, split_k=3),
)


@record
class CaseOutcome:
    """One run of one case. ``reason`` is None when it passed."""

    case: str
    variant: str
    accumulate: str
    dtype: str
    reason: str | None
    errors: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the run."""
        return self.reason is None

    def to_json(self) -> dict[str, Any]:
        """The run as a part of what ``golden check --json`` prints."""
        return {
            "case": self.case,
            "variant": self.variant,
            "accumulate": self.accumulate,
            "dtype": self.dtype,
            "verdict": "pass" if self.passed else "fail",
            "reason": self.reason,
            "errors": dict(self.errors),
            "sha256": self.digest,
        }


def arithmetic_of(kit: Toolkit, scaling: Scaling, accumulate: Accumulate) -> tolerance.Arithmetic:
    """What sums are computed in: the interpreter adds in float32, FP8 tensor cores in fewer bits.

    Where scales vary along K, partial products leave the tensor core to be scaled, in both modes.
    """
    if kit.interpreted:
        return "float32"
    return "promoted" if scaling.depends_on_k else accumulate


def variants(operands: Operands, kit: Toolkit) -> Iterator[tuple[Config, Accumulate]]:
    """Every config that can run these operands with a float32 result."""
    for config, accumulate in dict.fromkeys(_candidates(operands, kit)):
        if scaled_mm.misfit(config, operands, kit.torch.float32) is None:
            yield config, accumulate


def _candidates(operands: Operands, kit: Toolkit) -> list[tuple[Config, Accumulate]]:
    """Small tiles in the interpreter; on a GPU the device's tables, for the scalings that differ in the inner loop."""
    m, n, k = operands.sizes
    scaling, wide = operands.scaling, kit.torch.float32
    if kit.interpreted:
        # Where scales vary along K, partial products leave the accumulator in both modes: one program.
        modes = ACCUMULATE if scaling == TOKEN_CHANNEL else ACCUMULATE[:1]
        return [(config.with_split(m, n, k), accumulate) for config in INTERPRETED for accumulate in modes]
    if scaling not in (TOKEN_CHANNEL, GROUP_BLOCK):
        portable = [(fallback(Problem(m, n, k, acc, scaling.depends_on_k)), acc) for acc in ACCUMULATE]
        return [(scaled_mm.choose(operands, acc, wide), acc) for acc in ACCUMULATE] + portable
    names = scaled_mm.device_names(operands.a.device)
    return [
        (scaled_mm.with_room(config, wide).with_split(m, n, k), accumulate)
        for table in tables()
        if any(name.startswith(prefix) for name in names for prefix in table.devices)
        for config, accumulate, depends_on_k in table.variants()
        if depends_on_k == scaling.depends_on_k
    ]


Judge = Callable[["torch.Tensor", Accumulate], "tuple[str | None, dict[str, Any]]"]


@record
class Prepared:
    """A case whose operands lie on a device, with what judges a result. Raises ValueError for operands of others."""

    case: Case
    operands: Operands
    judge: Judge

    @classmethod
    def of(cls, case: Case, record: Mapping[str, Any], device: Any) -> Prepared:
        """The operands of a case on a device, and how its outputs are judged."""
        operands = inputs.build(case, device)
        known = record.get(case.name)
        if known is not None and known["inputs"] != inputs.inputs_digest(operands):
            raise ValueError("the inputs are not the recorded ones: this machine built others")
        judge = _exact_judge(operands, known) if case.kind == "exact" else _random_judge(operands, toolkit())
        return cls(case, scaled_mm.native(operands), judge)

    def run(self, config: Config, accumulate: Accumulate, dtype: torch.dtype) -> CaseOutcome:
        """Run one variant and judge it."""
        case, operands, name = self.case, self.operands, str(dtype).removeprefix("torch.")
        try:
            out = scaled_mm.scaled_mm(
                operands.a,
                operands.weight,
                operands.a_scale,
                operands.weight_scale,
                operands.scaling,
                bias=operands.bias,
                out_dtype=dtype,
                accumulate=accumulate,
                config=config,
            )
            reason, norms = self.judge(out, accumulate)
        except Exception as error:  # a variant that cannot even run is a finding about this machine, not a crash
            message = f"did not run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            return CaseOutcome(case.name, config.name, accumulate, name, message)
        return CaseOutcome(case.name, config.name, accumulate, name, reason, norms, inputs.output_digest(out))


def run_case(case: Case, record: Mapping[str, Any], device: Any) -> list[CaseOutcome]:
    """All variants of one case."""
    kit = toolkit()
    try:
        prepared = Prepared.of(case, record, device)
    except ValueError as error:
        return [CaseOutcome(case.name, "inputs", "", "", str(error))]
    operands = prepared.operands
    found = []
    for config, accumulate in variants(operands, kit):
        found.append(prepared.run(config, accumulate, kit.torch.float32))
    for dtype in (kit.torch.bfloat16, kit.torch.float16):
        if kit.interpreted:  # rounding is torch's there: one run is enough
            config = next(c for c in INTERPRETED[::-1] if scaled_mm.misfit(c, operands, dtype) is None)
            found.append(prepared.run(config, "fast", dtype))
            continue
        for accumulate in ACCUMULATE:
            config = scaled_mm.choose(operands, accumulate, dtype)
            found.append(prepared.run(config, accumulate, dtype))
    return found


def _exact_judge(operands: Operands, known: Mapping[str, Any] | None) -> Judge:
    wanted = inputs.expected(operands).float()

    def judge(out: torch.Tensor, accumulate: Accumulate) -> tuple[str | None, dict[str, Any]]:
        rounded = wanted.to(out.dtype)
        wrong = (out != rounded) | (out != out)
        count = int(wrong.sum())
        norms = {"wrong": count, "of": out.numel(), "largest": float((out.double() - rounded.double()).abs().max())}
        if count:
            row, column = wrong.nonzero()[0].tolist()
            value, right = float(out[row, column]), float(rounded[row, column])
            return f"{count:,} of {out.numel():,} wrong, first D[{row},{column}] = {value!r}, not {right!r}", norms
        name = str(out.dtype).removeprefix("torch.")
        if known is not None and known["outputs"][name] != inputs.output_digest(out):
            return "equals the oracle but not the recorded hash: the oracle has changed", norms
        return None, norms

    return judge


def _random_judge(operands: Operands, kit: Toolkit) -> Judge:
    def judge(out: torch.Tensor, accumulate: Accumulate) -> tuple[str | None, dict[str, Any]]:
        limit = tolerance.tolerance(arithmetic_of(kit, operands.scaling, accumulate), out.dtype, operands.sizes[2])
        found = tolerance.errors(out, operands, limit)
        return tolerance.verdict(found, limit), found.to_json()

    return judge


def run_quantization(device: Any) -> list[CaseOutcome]:
    """The quantization kernel against the eager one, bit for bit: random rows, zeros, saturation, every exponent."""
    kit = toolkit()
    torch = kit.torch
    rows = torch.from_numpy(inputs.bell(300, "rows", (24, 391))) * torch.logspace(-12, 6, 24, 10.0)[:, None]
    rows[3] = 0
    rows[5, 1:] = 0
    rows = rows.to(torch.bfloat16).to(device)
    found = []
    for name, size in (("per-token", None), ("per-group", 128)):
        wanted = quantize.per_token(rows) if size is None else quantize.per_group(rows, size)
        codes, scale = quantize.kernel_rows(rows, size)
        wrong = int((codes.view(torch.uint8) != wanted.codes.view(torch.uint8)).sum())
        same = torch.equal(scale, wanted.scale)
        reason = None if same and not wrong else f"{wrong} codes differ, scales {'agree' if same else 'differ'}"
        found.append(
            CaseOutcome(f"quantize-{name}", "quantize_rows", "", "float8_e4m3fn", reason, {}, inputs.digest(codes))
        )
    return found


def _same_rows(wanted: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether rows that were computed in another order are the same: in their bits, on a chip.

    In the interpreter a product is numpy's, and which order a row is summed in depends on the CPU's library and on the
    row's place: there the rows may differ by as much as the roundings of float32, which is far less than any mix-up.
    """
    kit = toolkit()
    if not kit.interpreted:
        return bool(kit.torch.equal(wanted, found))
    return bool(kit.torch.allclose(wanted, found, rtol=0, atol=float(wanted.abs().max()) * 2.0**-16))


def run_behaviour(device: Any) -> list[CaseOutcome]:
    """What no single result shows: the same bits twice, rows that do not mix, a NaN that stays in its row."""
    kit = toolkit()
    case = Case("behaviour", "random", TOKEN_CHANNEL, 20, 80, 272, 400)
    operands = scaled_mm.native(inputs.build(case, device))
    order = kit.torch.arange(19, -1, -1, device=device)
    turned = replace(operands, a=operands.a[order].contiguous(), a_scale=operands.a_scale[order].contiguous())
    poisoned = replace(operands, a_scale=operands.a_scale.clone())
    poisoned.a_scale[7] = float("nan")
    found = []
    for config, accumulate in variants(operands, kit):

        def product(given: Operands, config: Config = config, accumulate: Accumulate = accumulate) -> torch.Tensor:
            return scaled_mm.run(given, config, accumulate, kit.torch.float32)

        first = product(operands)
        bad = product(poisoned)
        rows = kit.torch.isnan(bad).any(dim=1).nonzero().flatten().tolist()
        whole_row = bool(kit.torch.isnan(bad[7]).all())
        reasons = [
            None if kit.torch.equal(first, product(operands)) else "two runs differ",
            None if _same_rows(first[order], product(turned)) else "the order of the rows changes their values",
            None if rows == [7] and whole_row else f"a NaN in row 7 shows in rows {rows[:8]}",
        ]
        broken = "; ".join(reason for reason in reasons if reason)
        found.append(CaseOutcome("behaviour", config.name, accumulate, "float32", broken or None))
    return found


def run_all(
    cases: Sequence[Case], record: Mapping[str, Any], device: Any, on_outcome: Callable[[list[CaseOutcome]], None]
) -> list[CaseOutcome]:
    """Every case and check; ``on_outcome`` is told after each."""
    found: list[CaseOutcome] = []
    steps: list[Callable[[], list[CaseOutcome]]] = [partial(run_quantization, device), partial(run_behaviour, device)]
    steps += [partial(run_case, case, record, device) for case in cases]
    for step in steps:
        outcomes = step()
        on_outcome(outcomes)
        found += outcomes
    return found
