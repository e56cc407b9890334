"""``D = (A @ W.T) * a_scale * weight_scale + bias`` for FP8 operands: checks, choice of a kernel, launch."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ckptkit.errors import UsageError
from ckptkit.kernels import quantize
from ckptkit.kernels.build import Toolkit, toolkit
from ckptkit.kernels.configs import ACCUMULATE, Accumulate, Config, Problem, fallback, select
from ckptkit.kernels.scaling import Scaling
from ckptkit.record import record

if TYPE_CHECKING:
    import torch

#: Programs of a persistent grid in the interpreter: more than one, fewer than tiles, so that the walk is tested.
_INTERPRETER_PROGRAMS = 3
#: TMA descriptors want rows and base addresses on 16-byte boundaries.
_TMA_ALIGNMENT = 16
_SUM_COLUMNS = 1024
#: Chips whose FP8 cores multiply e4m3fnuz only.
_FNUZ_ONLY = ("gfx940", "gfx941", "gfx942")


@record
class Operands:
    """Checked inputs of one product. ``a`` is [M, K], ``weight`` [N, K], both contiguous along K."""

    a: torch.Tensor
    weight: torch.Tensor
    a_scale: torch.Tensor
    weight_scale: torch.Tensor
    scaling: Scaling
    bias: torch.Tensor | None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """M, N and K."""
        return self.a.shape[0], self.weight.shape[0], self.a.shape[1]


def scaled_mm(
    a: torch.Tensor,
    weight: torch.Tensor,
    a_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    scaling: Scaling,
    *,
    bias: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    accumulate: Accumulate = "fast",
    config: Config | None = None,
) -> torch.Tensor:
    """Multiply FP8 activations [M, K] by an FP8 weight [N, K] as checkpoints store it.

    Scales are float32, in the shapes of :class:`Scaling`. ``out_dtype`` is bfloat16 unless given. ``accumulate`` is
    ``"fast"`` (what serving engines use) or ``"promoted"`` (more exact on Hopper and Ada, whose FP8 tensor cores keep
    14 bits of a sum). ``config`` overrides the table; one that cannot run these operands is a UsageError, while the
    table's choice falls back to the portable kernel.
    """
    kit = toolkit()
    out_dtype = out_dtype or kit.torch.bfloat16
    operands = Operands(a, weight, a_scale, weight_scale, scaling, bias)
    _check(operands, out_dtype, accumulate, kit)
    m, n, k = operands.sizes
    if m == 0 or n == 0 or k == 0:
        empty = kit.torch.zeros((m, n), dtype=out_dtype, device=a.device)
        return empty if bias is None else empty + bias.to(out_dtype)
    if config is None:
        chosen = choose(operands, accumulate, out_dtype)
    else:
        reason = misfit(config, operands, out_dtype)
        if reason is not None:
            raise UsageError(f"{config.name} cannot run {m}x{n}x{k}, {scaling.name}: {reason}")
        chosen = config.with_split(m, n, k)
    return run(operands, chosen, accumulate, out_dtype)


def native(operands: Operands) -> Operands:
    """The same numbers in the codes that the device's FP8 cores multiply.

    MI300 knows e4m3fnuz only, and multiplies e4m3fn codes in float16. A NaN has no other label: with one, the operands
    stay as they are, and the result shows it.
    """
    names = device_names(operands.a.device)
    fn_codes = operands.a.dtype == toolkit().torch.float8_e4m3fn
    if not fn_codes or not any(name.startswith(_FNUZ_ONLY) for name in names):
        return operands
    try:
        a, weight = (
            quantize.to_fnuz(codes, scale)
            for codes, scale in ((operands.a, operands.a_scale), (operands.weight, operands.weight_scale))
        )
    except UsageError:
        return operands
    return replace(operands, a=a.codes, weight=weight.codes, a_scale=a.scale, weight_scale=weight.scale)


def choose(operands: Operands, accumulate: Accumulate, out_dtype: torch.dtype) -> Config:
    """The table's config for these operands on their device; portable where TMA cannot describe them."""
    m, n, k = operands.sizes
    problem = Problem(m, n, k, accumulate, operands.scaling.depends_on_k)
    config = select(device_names(operands.a.device), problem)
    config = with_room(config, out_dtype)
    if misfit(config, operands, out_dtype) is not None:
        config = fallback(problem)
    return config


def with_room(config: Config, out_dtype: torch.dtype) -> Config:
    """The config for this output: a float32 tile of D takes the shared memory of one pipeline stage more."""
    if config.kernel == "persistent" and out_dtype.itemsize == 4:
        return replace(config, stages=config.stages - 1)
    return config


@lru_cache(maxsize=16)
def device_names(device: torch.device) -> tuple[str, ...]:
    """What tables know a device by: its architecture and its name. The interpreter plays a Hopper."""
    kit = toolkit()
    if kit.interpreted or device.type != "cuda":
        return ("sm_90",)
    name: str = kit.torch.cuda.get_device_name(device)
    if kit.torch.version.hip:
        return (str(kit.torch.cuda.get_device_properties(device).gcnArchName), name)
    major, minor = kit.torch.cuda.get_device_capability(device)
    return (f"sm_{major}{minor}", name)


def misfit(config: Config, operands: Operands, out_dtype: torch.dtype) -> str | None:
    """Why a config cannot run these operands, or None."""
    scaling = operands.scaling
    if config.kernel == "portable":
        return None if _portable_step(config, scaling) >= 16 else "the group size is no multiple of 16"
    if toolkit().tensor_descriptor is None:
        return "this Triton has no host TMA descriptors"
    for name, tensor in (("A", operands.a), ("W", operands.weight)):
        if tensor.stride(0) % _TMA_ALIGNMENT or tensor.data_ptr() % _TMA_ALIGNMENT:
            return f"rows of {name} are not on 16-byte boundaries"
    if config.specialize and (config.subtile or config.warps != 4 or config.block_m != 128):
        return "loads get a warp of their own only with 4 warps, 128 rows and a whole tile of D"
    if config.kernel == "persistent" and operands.weight.shape[0] * out_dtype.itemsize % _TMA_ALIGNMENT:
        return "rows of D are not on 16-byte boundaries"
    if scaling.a == "group" and scaling.a_group != config.block_k:
        return f"activation groups are not {config.block_k} wide"
    if scaling.b == "group" and (set(scaling.b_block) != {config.block_k} or config.block_k % config.block_n):
        return f"weight blocks are not {config.block_k}x{config.block_k}"
    return None


def run(operands: Operands, config: Config, accumulate: Accumulate, out_dtype: torch.dtype) -> torch.Tensor:
    """Launch one config. Rounding to ``out_dtype`` is the kernel's last step."""
    kit = toolkit()
    m, n, _ = operands.sizes
    # The interpreter truncates float32 to bfloat16 instead of rounding: there, the kernel stores float32.
    stored = kit.torch.float32 if kit.interpreted else out_dtype
    with kit.torch.cuda.device_of(operands.a):
        out = kit.torch.empty((m, n), dtype=stored, device=operands.a.device)
        launch = {"persistent": _persistent, "decode": _decode, "portable": _portable}[config.kernel]
        launch(kit, operands, out, config, accumulate == "promoted")
    return out if stored == out_dtype else out.to(out_dtype)


def _persistent(kit: Toolkit, operands: Operands, out: torch.Tensor, config: Config, promote: bool) -> None:
    m, n, _ = operands.sizes
    describe = kit.tensor_descriptor.from_tensor
    half = config.block_n // 2 if config.subtile else config.block_n
    workers = _INTERPRETER_PROGRAMS if kit.interpreted else _multiprocessors(operands.a.device)
    matrices: tuple[Any, ...] = (operands.a, operands.weight, out)
    if config.specialize:
        kit.triton.set_allocator(_scratch)  # the kernel makes its descriptors in memory that the launcher asks for
    else:
        blocks = ([config.block_m, config.block_k], [config.block_n, config.block_k], [config.block_m, half])
        matrices = tuple(describe(matrix, block) for matrix, block in zip(matrices, blocks, strict=True))
    kit.kernels["gemm_persistent"][(min(workers, config.programs(m, n)),)](
        *matrices,
        *_scale_pointers(operands, out),
        *operands.sizes,
        *_scale_strides(operands),
        operands.a.stride(0),
        operands.weight.stride(0),
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        BLOCK_K=config.block_k,
        GROUP_M=config.group_m,
        SUBTILE=config.subtile,
        SPECIALIZE=config.specialize,
        PROMOTE=promote,
        **_common(kit, operands, out),
        num_warps=config.warps,
        num_stages=config.stages,
    )


def _scratch(size: int, alignment: int, stream: int | None) -> torch.Tensor:
    """Memory on the current device; PyTorch's blocks are aligned to 512 bytes."""
    kit = toolkit()
    memory: torch.Tensor = kit.torch.empty(size, dtype=kit.torch.int8, device="cuda")
    return memory


def _decode(kit: Toolkit, operands: Operands, out: torch.Tensor, config: Config, promote: bool) -> None:
    m, n, _ = operands.sizes
    split = config.split_k
    target = out if split == 1 else out.new_empty((split, m, n), dtype=kit.torch.float32)
    describe = kit.tensor_descriptor.from_tensor
    common = _common(kit, operands, out)
    kit.kernels["gemm_decode"][(config.programs(m, n), split)](
        describe(operands.a, [config.block_m, config.block_k]),
        describe(operands.weight, [config.block_n, config.block_k]),
        target,
        *_scale_pointers(operands, out),
        *operands.sizes,
        *_scale_strides(operands),
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        BLOCK_K=config.block_k,
        SPLIT_K=split,
        PROMOTE=promote,
        **common,
        num_warps=config.warps,
        num_stages=config.stages,
    )
    if split > 1:
        kit.kernels["sum_partials"][(m, -(-n // _SUM_COLUMNS))](
            target,
            out,
            *_scale_pointers(operands, out),
            m,
            n,
            SPLIT_K=split,
            BLOCK_N=_SUM_COLUMNS,
            **common,
        )


def _portable(kit: Toolkit, operands: Operands, out: torch.Tensor, config: Config, promote: bool) -> None:
    m, n, _ = operands.sizes
    scaling = operands.scaling
    kit.kernels["gemm_portable"][(config.programs(m, n),)](
        operands.a,
        operands.weight,
        out,
        *_scale_pointers(operands, out),
        *operands.sizes,
        operands.a.stride(0),
        operands.weight.stride(0),
        *_scale_strides(operands),
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        BLOCK_K=_portable_step(config, scaling),
        GROUP_M=config.group_m,
        A_GROUP=scaling.a_group,
        B_GROUP_N=scaling.b_block[0],
        B_GROUP_K=scaling.b_block[1],
        PROMOTE=promote,
        **_common(kit, operands, out),
        num_warps=config.warps,
        num_stages=config.stages,
    )


def _common(kit: Toolkit, operands: Operands, out: torch.Tensor) -> dict[str, Any]:
    """The compile-time arguments that all products share."""
    types = {
        kit.torch.float32: kit.tl.float32,
        kit.torch.bfloat16: kit.tl.bfloat16,
        kit.torch.float16: kit.tl.float16,
    }
    return {
        "A_SCALE": operands.scaling.a,
        "B_SCALE": operands.scaling.b,
        "HAS_BIAS": operands.bias is not None,
        "OUT": types[out.dtype],
    }


def _scale_pointers(operands: Operands, out: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Scales and bias; without a bias any pointer does, for nothing reads it."""
    return operands.a_scale, operands.weight_scale, out if operands.bias is None else operands.bias


def _scale_strides(operands: Operands) -> tuple[int, int, int]:
    """How far apart group scales lie; 0 where there are none."""
    a = operands.a_scale.stride() if operands.scaling.a == "group" else (0, 0)
    return a[0], a[1], operands.weight_scale.stride(0) if operands.scaling.b == "group" else 0


def _portable_step(config: Config, scaling: Scaling) -> int:
    """The portable kernel's BLOCK_K: the largest that keeps each step within one group."""
    groups = [size for size in (scaling.a_group, scaling.b_block[1]) if size > 1]
    return math.gcd(config.block_k, *groups)


@lru_cache(maxsize=16)
def _multiprocessors(device: torch.device) -> int:
    return int(toolkit().torch.cuda.get_device_properties(device).multi_processor_count)


def _check(operands: Operands, out_dtype: torch.dtype, accumulate: str, kit: Toolkit) -> None:
    """Refuse what a kernel would silently misread."""
    torch = kit.torch
    fp8 = (torch.float8_e4m3fn, torch.float8_e4m3fnuz)
    a, weight, scaling = operands.a, operands.weight, operands.scaling
    if a.ndim != 2 or weight.ndim != 2 or a.shape[1] != weight.shape[1]:
        raise UsageError(f"A {list(a.shape)} and W {list(weight.shape)} are not [M, K] and [N, K]")
    if a.dtype not in fp8 or weight.dtype != a.dtype:
        raise UsageError(f"A is {a.dtype}, W is {weight.dtype}: both must be the same e4m3 type")
    m, n, k = operands.sizes
    if k and (a.stride(1) != 1 or weight.stride(1) != 1):
        raise UsageError("A and W must be contiguous along K", help="pass W as stored, [N, K], not transposed")
    for name, scale, shape in (
        ("a_scale", operands.a_scale, scaling.a_shape(m, k)),
        ("weight_scale", operands.weight_scale, scaling.b_shape(n, k)),
    ):
        if tuple(scale.shape) != shape or scale.dtype != torch.float32:
            found = f"{list(scale.shape)} {scale.dtype}"
            raise UsageError(f"{name} of {scaling.name} must be {list(shape)} float32, not {found}")
        if scale.ndim and scale.stride(-1) != 1 and name == "weight_scale":
            raise UsageError("weight_scale must be contiguous")
        if scale.ndim == 1 and scale.stride(0) != 1:
            raise UsageError(f"{name} must be contiguous")
    if operands.bias is not None and (tuple(operands.bias.shape) != (n,) or operands.bias.stride(0) != 1):
        raise UsageError(f"bias must be [{n}] and contiguous, not {list(operands.bias.shape)}")
    if out_dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise UsageError(f"no kernel writes {out_dtype}", help="float32, bfloat16 or float16")
    if accumulate not in ACCUMULATE:
        raise UsageError(f"accumulate is {accumulate!r}", help=f"one of {', '.join(ACCUMULATE)}")
    devices = {t.device for t in (a, weight, operands.a_scale, operands.weight_scale, operands.bias) if t is not None}
    if len(devices) > 1:
        raise UsageError(f"the operands lie on several devices: {', '.join(map(str, devices))}")
    if not kit.interpreted and a.device.type != "cuda":
        raise UsageError("the kernels run on a GPU", help="TRITON_INTERPRET=1 runs them on the CPU, slowly")
