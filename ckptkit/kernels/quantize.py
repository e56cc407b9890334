"""Quantization to e4m3fn with the exact arithmetic of those who do it: engines at run time, exporters on disk.

Codes depend on the last bit of the scale and on how the division is done, and the tools differ:

| who | scale | of zeros | code |
|---|---|---|---|
| vLLM per token | f32(amax / 448) | 1/(448*512), the minimum | e4m3(sat(f32(x / scale))) |
| vLLM per group | f32(amax / 448) | 1e-10/448, the minimum | e4m3(sat(f32(x / scale))) |
| vLLM per tensor | f32(amax / 448) | 0; here 1/(448*512) | e4m3(sat(f32(x * f32(1 / scale)))) |
| compressed-tensors | bf16(amax / 448) | epsilon of bf16 | e4m3(sat(bf16(x / scale))) |
| exporters' weights | bf16(amax / 448) | epsilon of bf16 | e4m3(sat(bf16(w / scale))) |

"bf16" stands for the dtype of x or w. vLLM is its CUDA kernels; its PyTorch fallback multiplies by the reciprocal
per token too. Values beyond 448 * scale saturate. A NaN stays a NaN, here and in compressed-tensors; the clamp of
vLLM's CUDA kernels makes it 448.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ckptkit.dtypes import DTYPES, FP8_WEIGHT
from ckptkit.errors import UsageError
from ckptkit.kernels.build import Toolkit, import_torch, toolkit
from ckptkit.kernels.scaling import Scaling
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerTensor

if TYPE_CHECKING:
    import torch

Arithmetic = Literal["vllm", "compressed-tensors"]

#: The largest finite e4m3fn value.
E4M3_MAX = DTYPES[FP8_WEIGHT].max_value or 448.0
#: vLLM's smallest per-token scale, so that a row of zeros does not divide by zero.
SMALLEST_SCALE = 1.0 / (E4M3_MAX * 512.0)
#: vLLM's smallest maximum of a group.
SMALLEST_GROUP_AMAX = 1e-10


class Quantized(NamedTuple):
    """FP8 codes and the scale that multiplies them."""

    codes: torch.Tensor
    scale: torch.Tensor


def per_token(x: torch.Tensor, arithmetic: Arithmetic = "vllm") -> Quantized:
    """Dynamic: one scale for each row of x [M, K]."""
    scale = _dynamic_scale(x.abs().amax(dim=1), arithmetic)
    return Quantized(_divide(x, scale[:, None], arithmetic), scale.float())


def per_group(x: torch.Tensor, size: int, arithmetic: Arithmetic = "vllm") -> Quantized:
    """Dynamic: one scale for each run of ``size`` elements of a row; the last run may be shorter."""
    torch = import_torch()
    rows, columns = x.shape
    padded = torch.nn.functional.pad(x, (0, -columns % size))
    groups = padded.reshape(rows, -1, size)
    amax = groups.abs().amax(dim=2)
    if arithmetic == "vllm":
        scale = _over_max(amax.float().clamp(min=SMALLEST_GROUP_AMAX))
    else:
        scale = _dynamic_scale(amax, arithmetic)
    codes = _divide(groups, scale[:, :, None], arithmetic).reshape(padded.shape)[:, :columns]
    return Quantized(codes.contiguous(), scale.float())


def per_tensor(x: torch.Tensor, arithmetic: Arithmetic = "vllm") -> Quantized:
    """Dynamic: one scale for all of x."""
    scale = _dynamic_scale(x.abs().amax(), arithmetic)
    if arithmetic == "vllm":
        return Quantized(static(x, scale), scale)
    return Quantized(_divide(x, scale, arithmetic), scale.float())


def static(x: torch.Tensor, scale: torch.Tensor, arithmetic: Arithmetic = "vllm") -> torch.Tensor:
    """The codes of x under a stored scale. vLLM multiplies by the reciprocal, which rounds once more."""
    if arithmetic == "vllm":
        return _encode(x.float() * (1.0 / scale.float()))
    return _divide(x, scale.to(x.dtype), arithmetic)


def cache(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The codes that vLLM writes into an FP8 KV cache: float32 division, rounding, saturation."""
    return _encode(x.float() / scale.float())


def activations(
    x: torch.Tensor, scaling: Scaling, input_scale: torch.Tensor | None = None, arithmetic: Arithmetic = "vllm"
) -> Quantized:
    """Quantize activations as a scaling wants them: statically where an input scale is stored."""
    if scaling.a == "row":
        return per_token(x, arithmetic)
    if scaling.a == "group":
        return per_group(x, scaling.a_group, arithmetic)
    if input_scale is not None:
        return Quantized(static(x, input_scale, arithmetic), input_scale.float())
    return per_tensor(x, arithmetic)


def weight(w: torch.Tensor, granularity: Granularity) -> Quantized:
    """Quantize a weight [N, K] as Quark and llm-compressor do: all arithmetic in the weight's own dtype."""
    torch = import_torch()
    if isinstance(granularity, PerTensor):
        scale = _dynamic_scale(w.abs().amax(), "compressed-tensors")
        return Quantized(_divide(w, scale, "compressed-tensors"), scale)
    if isinstance(granularity, PerChannel):
        scale = _dynamic_scale(w.abs().amax(dim=1), "compressed-tensors")
        return Quantized(_divide(w, scale[:, None], "compressed-tensors"), scale)
    if not isinstance(granularity, PerBlock):
        raise UsageError(f"no exporter writes {granularity} weights")
    rows, columns = granularity.rows, granularity.columns
    padded = torch.nn.functional.pad(w, (0, -w.shape[1] % columns, 0, -w.shape[0] % rows))
    tiles = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    scale = _dynamic_scale(tiles.abs().amax(dim=(1, 3)), "compressed-tensors")
    codes = _divide(tiles, scale[:, None, :, None], "compressed-tensors").reshape(padded.shape)
    return Quantized(codes[: w.shape[0], : w.shape[1]].contiguous(), scale)


def to_fnuz(codes: torch.Tensor, scale: torch.Tensor) -> Quantized:
    """The same numbers for chips that only know e4m3fnuz (MI300): relabelled codes, doubled scale.

    One code means half as much in fnuz. -0 has no code there and becomes 0; an e4m3fn NaN cannot be relabelled.
    """
    torch = import_torch()
    raw = codes.view(torch.uint8)
    if bool(((raw & 0x7F) == 0x7F).any()):
        raise UsageError("a NaN cannot be relabelled as e4m3fnuz: there its code is the number 240")
    relabelled = torch.where(raw == 0x80, torch.zeros_like(raw), raw)
    return Quantized(relabelled.view(torch.float8_e4m3fnuz), scale * 2)


def converts_once(architecture: int) -> bool:
    """Whether Triton's float32 to e4m3 conversion rounds once on this NVIDIA architecture, 90 and later.

    For Ada it goes through float16, which rounds twice, and for AMD it is emulated.
    """
    return architecture >= 90


def _hardware(kit: Toolkit, device: torch.device) -> bool:
    """Whether the kernel may leave the rounding of codes to the chip; integer arithmetic does it elsewhere."""
    if kit.interpreted or kit.torch.version.hip:
        return False  # the interpreter's own conversion is wrong
    major, minor = kit.torch.cuda.get_device_capability(device)
    return converts_once(10 * major + minor)


def kernel_rows(x: torch.Tensor, size: int | None = None) -> Quantized:
    """:func:`per_token`, or :func:`per_group` of this size, with vLLM's arithmetic in one Triton kernel."""
    kit = toolkit()
    rows, columns = x.shape
    width = columns if size is None else size
    groups = -(-columns // width)
    codes = kit.torch.empty((rows, columns), dtype=kit.torch.float8_e4m3fn, device=x.device)
    scale = kit.torch.empty((rows, groups), dtype=kit.torch.float32, device=x.device)
    block = min(4096, kit.triton.next_power_of_2(width))
    hardware = _hardware(kit, x.device)
    with kit.torch.cuda.device_of(x):
        kit.kernels["quantize_rows"][(rows, groups)](
            x,
            codes if hardware else codes.view(kit.torch.uint8),
            scale,
            columns,
            x.stride(0),
            groups,
            width,
            FLOOR=SMALLEST_SCALE if size is None else 0.0,
            FLOOR_AMAX=0.0 if size is None else SMALLEST_GROUP_AMAX,
            BLOCK=block,
            HARDWARE=hardware,
            num_warps=1 if block <= 128 else 8,
        )
    return Quantized(codes, scale[:, 0].contiguous() if size is None else scale)


def _dynamic_scale(amax: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
    torch = import_torch()
    if arithmetic == "vllm":
        return _over_max(amax.float()).clamp(min=SMALLEST_SCALE)
    scale = _over_max(amax)
    return torch.where(scale == 0, torch.finfo(scale.dtype).eps, scale)


def _over_max(amax: torch.Tensor) -> torch.Tensor:
    """A true division by 448. By a Python number, torch multiplies by the reciprocal on a GPU: one bit off at times."""
    return amax / amax.new_full((), E4M3_MAX)


def _divide(x: torch.Tensor, scale: torch.Tensor, arithmetic: Arithmetic) -> torch.Tensor:
    """Divide in float32, or in x's own dtype as exporters do, and encode."""
    return _encode((x.float() if arithmetic == "vllm" else x) / scale)


def _encode(x: torch.Tensor) -> torch.Tensor:
    """Saturate and round to nearest even; torch's conversion alone does not saturate."""
    torch = import_torch()
    return x.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
