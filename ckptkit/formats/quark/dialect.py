"""The Quark format: detection, reader, capabilities and scale shapes, for both of its dialects."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ckptkit.errors import Fault, FormatError, UsageError
from ckptkit.formats import config as location
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Capabilities, Detection, Draft, WriteOptions
from ckptkit.formats.quark import config, write
from ckptkit.model.census import Role, take_census
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity, PerTensor
from ckptkit.storage.container import Container

NAME = "quark"
NATIVE, CUSTOM = "quark", "fp8"

#: Endings and roles. The ``*_quantizer`` names are those of raw dumps and early exports; ``weight_scale_inv`` is
#: kept by Quark where it preserves layers that were quantized before, and multiplies like any other scale.
ROLES = MappingProxyType(
    {
        "weight_scale": Role.WEIGHT_SCALE,
        "weight_scale_inv": Role.WEIGHT_SCALE,
        "weight_quantizer.scale": Role.WEIGHT_SCALE,
        "input_scale": Role.INPUT_SCALE,
        "input_quantizer.scale": Role.INPUT_SCALE,
        "output_scale": Role.OUTPUT_SCALE,
        "output_quantizer.scale": Role.OUTPUT_SCALE,
        "k_scale": Role.K_SCALE,
        "v_scale": Role.V_SCALE,
        "q_scale": Role.Q_SCALE,
        "kv_scale": Role.KV_SCALE,
        "prob_output_scale": Role.PROB_SCALE,
    }
)

NATIVE_CAPABILITIES = Capabilities(
    schemes=frozenset(
        {
            ("per-tensor", "static per-tensor"),
            ("per-tensor", "dynamic per-token"),
            ("per-tensor", "dynamic per-tensor"),
            ("per-channel", "dynamic per-token"),
            ("per-channel", "dynamic per-tensor"),
            ("per-channel", "static per-tensor"),
            ("per-block", "dynamic per-group"),
        }
    ),
    kv_roles=frozenset({"k", "v", "q", "prob"}),
    kv_granularities=frozenset({"per-tensor"}),
    mixed_schemes=True,
    quantized_lm_head=False,
    block_sizes=frozenset({(128, 128)}),
    scale_dtypes=frozenset({"F32", "BF16", "F16", "F8_E8M0"}),
    groups_match_blocks=True,
)
CUSTOM_CAPABILITIES = replace(
    NATIVE_CAPABILITIES,
    schemes=frozenset({("per-tensor", "static per-tensor"), ("per-tensor", "dynamic per-tensor")}),
    mixed_schemes=False,
    block_sizes=frozenset(),
)


class Quark:
    """Reader and writer of AMD Quark checkpoints."""

    name = NAME
    aliases = ()
    modes = (NATIVE, CUSTOM)

    def detect(self, container: Container) -> Detection | None:
        located = location.locate(container.config)
        if located is None:
            return None
        method = location.quant_method(located.block)
        has_export = isinstance(located.block.get("export"), dict)
        if method == NATIVE:
            return Detection(NAME, "native", f"config.json: {located.path}.quant_method")
        if method == CUSTOM and has_export:
            return Detection(NAME, "fp8 mode", f"config.json: {located.path}.quant_method and .export")
        return None

    def read(self, container: Container) -> Checkpoint:
        located = location.locate(container.config)
        if located is None:
            raise FormatError(f"{container.label}: config.json has no quantization_config")
        custom = location.quant_method(located.block) == CUSTOM
        parse = config.parse_custom if custom else config.parse_native
        parsed = parse(located.block, container.label)
        census = take_census(container.tensors, ROLES)
        declaration = Declaration(
            format=NAME,
            dialect="fp8 mode" if custom else "native",
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block,
            effective=parsed.effective,
            faults=parsed.faults,
            records=parsed.records,
        )
        return assemble(container, census, declaration)

    def capabilities(self, options: WriteOptions) -> Capabilities:
        return CUSTOM_CAPABILITIES if self._mode(options) == CUSTOM else NATIVE_CAPABILITIES

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        return write.draft(checkpoint, self, self.capabilities(options), custom=self._mode(options) == CUSTOM)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> Quark().scale_shapes(PerTensor(), (64, 256))
        ((), (1,))
        """
        canonical = granularity.scale_shape(weight_shape)
        return (canonical, (1,)) if isinstance(granularity, PerTensor) else (canonical,)

    def _mode(self, options: WriteOptions) -> str:
        mode = options.mode or NATIVE
        if mode not in self.modes:
            fault = Fault("unknown-mode", "no such mode", expected=" or ".join(self.modes), found=mode)
            raise UsageError(f"Quark has no mode {mode!r}", faults=[fault])
        return mode
