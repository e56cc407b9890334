"""Where a golden check runs, and its whole report as data."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import Any

from ckptkit.kernels.build import import_torch, import_triton, toolkit, use_interpreter
from ckptkit.kernels.golden.check import CaseOutcome
from ckptkit.kernels.golden.checkpoint import Comparison, LayerOutcome
from ckptkit.record import record

#: The first NVIDIA architecture with FP8 products.
_FP8_CAPABILITY = (8, 9)


@record
class Machine:
    """What a check ran on. ``gpu`` is None for the interpreter, and ``why`` then says why."""

    gpu: str | None
    why: str | None
    architecture: str | None
    driver: str | None
    cuda: str | None
    torch: str
    triton: str
    python: str

    @property
    def device(self) -> str:
        """Where torch runs the products."""
        return "cpu" if self.gpu is None else "cuda"


@dataclass
class GoldenReport:
    """All that a check found. ``probe`` is what the accumulator showed: see :func:`probe`."""

    machine: Machine
    probe: str
    outcomes: list[CaseOutcome] = field(default_factory=list)
    layers: list[LayerOutcome] = field(default_factory=list)
    against: list[LayerOutcome] = field(default_factory=list)
    comparison: Comparison | None = None

    @property
    def results(self) -> list[CaseOutcome | LayerOutcome]:
        """Everything that ran or was skipped."""
        return [*self.outcomes, *self.layers, *self.against]

    @property
    def passed(self) -> bool:
        """Whether every result passed, and the two checkpoints gave the same bits in at least one layer."""
        return all(result.passed for result in self.results) and not self.differences

    @property
    def differences(self) -> list[str]:
        """Where the two checkpoints differ, one sentence each; nothing to compare is not the same bits."""
        if self.comparison is None:
            return []
        if not self.comparison.total:
            return ["no layer of the two was compared: all were skipped"]
        return list(self.comparison.differences)

    def to_json(self) -> dict[str, Any]:
        """Everything, as ``golden check --json`` prints it."""
        return {
            "passed": self.passed,
            "mode": "interpreter" if self.machine.gpu is None else "gpu",
            "machine": asdict(self.machine),
            "accumulator": self.probe,
            "cases": [outcome.to_json() for outcome in self.outcomes],
            "layers": [outcome.to_json() for outcome in self.layers],
            "against": [outcome.to_json() for outcome in self.against],
            "same_bits": None if self.comparison is None else self.comparison.same,
            "differences": self.differences,
        }


def find_machine() -> Machine:
    """Look for a GPU with FP8 products; without one, switch Triton to its interpreter."""
    torch = import_torch()
    why = _why_not(torch)
    if why is not None:
        use_interpreter()
    triton = import_triton()
    name = architecture = driver = None
    if why is None:
        name = torch.cuda.get_device_name()
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        hip = torch.version.hip
        architecture = properties.gcnArchName if hip else f"sm_{properties.major}{properties.minor}"
        driver = _driver()
    return Machine(
        gpu=name,
        why=why,
        architecture=architecture,
        driver=driver,
        cuda=torch.version.cuda or torch.version.hip,
        torch=torch.__version__,
        triton=triton.__version__,
        python=platform.python_version(),
    )


def _why_not(torch: Any) -> str | None:
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    if torch.version.hip:
        name = torch.cuda.get_device_properties(torch.cuda.current_device()).gcnArchName
        return None if name.startswith(("gfx94", "gfx95", "gfx12")) else f"{name} has no FP8 products"
    capability = torch.cuda.get_device_capability()
    if capability < _FP8_CAPABILITY:
        return f"{torch.cuda.get_device_name()} has no FP8 products (sm_{capability[0]}{capability[1]})"
    return None


def _driver() -> str | None:
    """The driver's version, from the driver's own file; None where that is not Linux with NVIDIA."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as file:
            return file.readline().strip()
    except OSError:
        return None


def probe(device: str) -> str:
    """What the FP8 product accumulates in, seen from a sum that 14 bits cannot hold: 32 * 32 * 16 + 1."""
    from ckptkit.kernels import scaled_mm
    from ckptkit.kernels.scaling import TENSOR_TENSOR

    kit = toolkit()
    a = kit.torch.zeros((64, 128), device=device)
    a[:, :32], a[:, 32] = 32.0, 1.0
    w = kit.torch.zeros((64, 128), device=device)
    w[:, :32], w[:, 32] = 16.0, 1.0
    one = kit.torch.ones((), device=device)
    fp8 = kit.torch.float8_e4m3fn
    operands = scaled_mm.native(scaled_mm.Operands(a.to(fp8), w.to(fp8), one, one, TENSOR_TENSOR, None))
    wide = kit.torch.float32
    out = scaled_mm.run(operands, scaled_mm.choose(operands, "fast", wide), "fast", wide)
    values = out.unique().tolist()
    kinds = {(16385.0,): "more than 14 bits", (16384.0,): "14 bits, as Hopper's FP8 tensor core"}
    return (
        f"16385 came out as {', '.join(f'{v:g}' for v in values)}: {kinds.get(tuple(values), 'neither right nor cut')}"
    )
