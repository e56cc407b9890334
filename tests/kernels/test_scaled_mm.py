"""The product in Triton's interpreter: every scaling, kernel and edge against the oracle; refusals; the operator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ckptkit.errors import UsageError
from ckptkit.kernels import ops, reference
from ckptkit.kernels import scaled_mm as scaled_mm_module
from ckptkit.kernels.configs import ACCUMULATE, Config
from ckptkit.kernels.golden import inputs
from ckptkit.kernels.golden.check import INTERPRETED
from ckptkit.kernels.golden.inputs import Case
from ckptkit.kernels.scaled_mm import Operands, choose, misfit, native, scaled_mm
from ckptkit.kernels.scaling import GROUP_BLOCK, SCALINGS, TENSOR_TENSOR, TOKEN_CHANNEL, Scaling
from ckptkit.model.granularity import PerBlock, PerChannel, PerGroup, PerHead, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme

F32 = torch.float32


def exact(scaling: Scaling, m: int, n: int, k: int, *, bias: bool = False, seed: int = 1) -> Operands:
    return inputs.build(Case("test", "exact", scaling, m, n, k, seed, bias=bias))


def multiply(operands: Operands, **options: object) -> torch.Tensor:
    parts = (operands.a, operands.weight, operands.a_scale, operands.weight_scale, operands.scaling)
    return scaled_mm(*parts, bias=operands.bias, **options)  # type: ignore[arg-type]


def assert_exact(operands: Operands, **options: object) -> None:
    wanted = inputs.expected(operands).float()
    found = multiply(operands, out_dtype=F32, **options)
    assert torch.equal(found, wanted), f"{(found != wanted).sum()} of {wanted.numel()} wrong"


@pytest.mark.parametrize("accumulate", ACCUMULATE)
@pytest.mark.parametrize("config", INTERPRETED, ids=lambda config: config.name)
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling.name)
def test_every_kernel_and_scaling_is_exact(scaling: Scaling, config: Config, accumulate: str) -> None:
    assert_exact(exact(scaling, 37, 144, 272, bias=True), config=config, accumulate=accumulate)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (5, 67, 271), (33, 16, 16), (64, 64, 128)], ids=str)
@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling.name)
def test_any_shape_runs_without_choosing(scaling: Scaling, shape: tuple[int, int, int]) -> None:
    assert_exact(exact(scaling, *shape))


@pytest.mark.parametrize("name", ["tensor-channel", "token-block128x128", "group128-channel", "group64-block64x64"])
def test_other_pairs_of_scalings(name: str) -> None:
    assert_exact(exact(Scaling.parse(name), 19, 160, 208))


def test_real_weights_have_ragged_blocks() -> None:
    operands = exact(GROUP_BLOCK, 9, 192, 160)
    assert operands.weight_scale.shape == (2, 2)
    for config in INTERPRETED:
        assert_exact(operands, config=config)


def test_rows_may_lie_apart() -> None:
    operands = exact(TOKEN_CHANNEL, 6, 48, 64)
    a = torch.zeros((6, 80), dtype=torch.uint8)
    a[:, :64] = operands.a.view(torch.uint8)
    apart = replace(operands, a=a[:, :64].view(torch.float8_e4m3fn))
    assert apart.a.stride() == (80, 1)
    assert torch.equal(multiply(apart, out_dtype=F32), multiply(operands, out_dtype=F32))


def test_group_scales_may_be_stored_by_group() -> None:
    operands = exact(GROUP_BLOCK, 20, 64, 512)
    turned = replace(operands, a_scale=operands.a_scale.T.contiguous().T)
    assert turned.a_scale.stride() == (1, 20)
    for config in INTERPRETED:
        assert_exact(turned, config=config)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, F32], ids=str)
def test_output_is_rounded_once(dtype: torch.dtype) -> None:
    operands = exact(TOKEN_CHANNEL, 21, 96, 144)
    found = multiply(operands, out_dtype=dtype)
    assert found.dtype == dtype
    assert torch.equal(found, inputs.expected(operands).float().to(dtype))


def test_bfloat16_is_the_default() -> None:
    assert multiply(exact(TENSOR_TENSOR, 2, 16, 32)).dtype == torch.bfloat16


def test_fnuz_codes_run_too() -> None:
    operands = exact(TOKEN_CHANNEL, 4, 16, 32)
    values = [operands.a.float(), operands.weight.float()]
    a, weight = (value.to(torch.float8_e4m3fnuz) for value in values)
    parts = (a, weight, operands.a_scale, operands.weight_scale, TOKEN_CHANNEL)
    assert torch.equal(scaled_mm(*parts, out_dtype=F32), reference.scaled_mm(*parts).float())


def test_rows_further_apart_than_int32_counts() -> None:
    operands = exact(TOKEN_CHANNEL, 5, 48, 272)
    rows, k = operands.a.shape
    room = torch.empty((rows - 1) * (1 << 30) + k, dtype=torch.uint8)  # never written, but for the rows: no memory
    far = room.as_strided((rows, k), (1 << 30, 1))
    far.copy_(operands.a.view(torch.uint8))
    for config in INTERPRETED:
        assert_exact(replace(operands, a=far.view(torch.float8_e4m3fn)), config=config)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling.name)
def test_chips_that_know_only_fnuz_are_given_fnuz(scaling: Scaling, monkeypatch: pytest.MonkeyPatch) -> None:
    operands = exact(scaling, 9, 144, 272)
    assert native(operands) is operands
    monkeypatch.setattr(scaled_mm_module, "device_names", lambda device: ("gfx942:sramecc+:xnack-", "MI300X"))
    found = native(operands)
    assert found.a.dtype == found.weight.dtype == torch.float8_e4m3fnuz
    # The interpreter cannot fill a masked load of this type, which is all that the portable kernel has.
    assert torch.equal(multiply(found, out_dtype=F32, config=INTERPRETED[1]), inputs.expected(operands).float())
    assert native(found) is found
    poisoned = operands.a.view(torch.uint8).clone()
    poisoned[3, 4] = 0x7F
    with_nan = replace(operands, a=poisoned.view(torch.float8_e4m3fn))
    assert native(with_nan) is with_nan


@pytest.mark.parametrize(("m", "n", "k"), [(0, 8, 16), (3, 0, 16), (3, 8, 0)])
def test_nothing_to_multiply(m: int, n: int, k: int) -> None:
    fp8 = torch.float8_e4m3fn
    a, weight = torch.zeros((m, k)).to(fp8), torch.zeros((n, k)).to(fp8)
    bias = torch.arange(n, dtype=torch.bfloat16)
    found = scaled_mm(a, weight, torch.ones(m), torch.ones(n), TOKEN_CHANNEL, bias=bias)
    assert torch.equal(found, bias.expand(m, n))


def test_float32_oracle_agrees_with_float64() -> None:
    operands = exact(GROUP_BLOCK, 5, 32, 256)
    parts = (operands.a, operands.weight, operands.a_scale, operands.weight_scale, operands.scaling)
    assert torch.equal(reference.scaled_mm(*parts, precision=F32).double(), reference.scaled_mm(*parts))


def test_refusals_say_what_is_wrong() -> None:
    good = exact(TOKEN_CHANNEL, 4, 32, 48)
    refused = [
        (replace(good, a=good.a[:, :32]), "are not [M, K] and [N, K]"),
        (replace(good, a=good.a.float()), "same e4m3 type"),
        (replace(good, weight=good.weight.T.contiguous().T), "contiguous along K"),
        (replace(good, a_scale=good.a_scale[:, None]), "a_scale of token-channel must be [4] float32"),
        (replace(good, weight_scale=good.weight_scale.bfloat16()), "weight_scale of token-channel must be [32]"),
        (replace(good, weight_scale=torch.ones(64)[::2]), "weight_scale must be contiguous"),
        (replace(good, a_scale=torch.ones(8)[::2]), "a_scale must be contiguous"),
        (replace(good, bias=torch.ones(31)), "bias must be [32]"),
    ]
    for operands, message in refused:
        with pytest.raises(UsageError) as raised:
            multiply(operands)
        assert message in str(raised.value)
    with pytest.raises(UsageError, match="no kernel writes"):
        multiply(good, out_dtype=torch.float64)
    with pytest.raises(UsageError, match="accumulate"):
        multiply(good, accumulate="quick")


def test_a_config_that_cannot_run_is_refused_but_never_chosen() -> None:
    persistent, decode = INTERPRETED[1], INTERPRETED[-1]
    unaligned = exact(TOKEN_CHANNEL, 70, 32, 50)
    reason = misfit(persistent, unaligned, F32)
    assert reason == "rows of A are not on 16-byte boundaries"
    with pytest.raises(UsageError, match="16-byte"):
        multiply(unaligned, config=persistent)
    assert choose(unaligned, "fast", F32).kernel == "portable"
    odd_columns = exact(TOKEN_CHANNEL, 70, 33, 64)
    assert misfit(persistent, odd_columns, F32) == "rows of D are not on 16-byte boundaries"
    assert misfit(decode, odd_columns, F32) is None
    small_groups = exact(Scaling.parse("group64-block64x64"), 4, 64, 128)
    assert misfit(decode, small_groups, F32) == "activation groups are not 128 wide"
    assert misfit(decode, exact(Scaling.parse("token-block64x64"), 4, 64, 128), F32) is not None
    with pytest.raises(UsageError, match="multiple of 16"):
        multiply(exact(Scaling.parse("group24-channel"), 4, 64, 128), config=INTERPRETED[0])


def test_scalings_come_from_schemes() -> None:
    def scheme(weight: object, activations: object | None) -> Scheme:
        dynamic = None if activations is None else Quantization(activations, dynamic=True)  # type: ignore[arg-type]
        return Scheme(Quantization(weight), dynamic)  # type: ignore[arg-type]

    assert Scaling.of(scheme(PerChannel(), PerToken())) == TOKEN_CHANNEL
    assert Scaling.of(scheme(PerTensor(), PerTensor())) == TENSOR_TENSOR
    assert Scaling.of(scheme(PerBlock(128, 128), PerGroup(128))) == GROUP_BLOCK
    with pytest.raises(UsageError, match="not quantized"):
        Scaling.of(scheme(PerChannel(), None))
    with pytest.raises(UsageError, match="no kernel"):
        Scaling.of(scheme(PerHead(), PerToken()))
    with pytest.raises(UsageError, match="not a scaling"):
        Scaling.parse("channel-token")


def test_operator_compiles_into_one_graph() -> None:
    operands = exact(TOKEN_CHANNEL, 5, 32, 64)
    operator = ops.register()
    assert operator is ops.register()
    arguments = (operands.a, operands.weight, operands.a_scale, operands.weight_scale, "token-channel")

    def layer(*given: object) -> torch.Tensor:
        return torch.relu(operator(*given, None, F32))

    wanted = torch.relu(multiply(operands, out_dtype=F32))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*arguments), wanted)
    torch.library.opcheck(operator, arguments, test_utils="test_faketensor")
