"""The compressed-tensors format: detection, reader, capabilities and scale shapes."""

from __future__ import annotations

from types import MappingProxyType

from ckptkit.errors import Fault, FormatError
from ckptkit.formats import config as location
from ckptkit.formats.assemble import Declaration, assemble
from ckptkit.formats.base import Capabilities, Detection, Draft, WriteOptions
from ckptkit.formats.compressed_tensors import config, write
from ckptkit.model.census import Role, take_census
from ckptkit.model.checkpoint import Checkpoint
from ckptkit.model.granularity import Granularity, PerChannel, PerHead, PerTensor
from ckptkit.storage.container import Container

NAME = "compressed-tensors"

#: ``output_scale`` is how llm-compressor spelled KV scales before it quantized the attention itself.
ROLES = MappingProxyType(
    {
        "weight_scale": Role.WEIGHT_SCALE,
        "input_scale": Role.INPUT_SCALE,
        "k_scale": Role.K_SCALE,
        "v_scale": Role.V_SCALE,
        "q_scale": Role.Q_SCALE,
        "output_scale": Role.OUTPUT_SCALE,
    }
)

_INPUTS = ("none", "static per-tensor", "dynamic per-tensor", "dynamic per-token")
CAPABILITIES = Capabilities(
    schemes=frozenset(
        {
            *((weight, inputs) for weight in ("per-tensor", "per-channel") for inputs in _INPUTS),
            ("per-block", "dynamic per-group"),
            ("per-block", "dynamic per-token"),
        }
    ),
    kv_roles=frozenset({"k", "v", "q"}),
    kv_granularities=frozenset({"per-tensor", "per-head"}),
    mixed_schemes=True,
    quantized_lm_head=True,
    block_sizes=None,
    scale_dtypes=frozenset({"F32", "BF16", "F16"}),
)


class CompressedTensors:
    """Reader and writer of compressed-tensors checkpoints."""

    name = NAME
    aliases = ("ct",)
    modes = ("float-quantized",)

    def detect(self, container: Container) -> Detection | None:
        located = location.locate(container.config)
        if located is None or location.quant_method(located.block) != NAME:
            return None
        dialect = str(located.block.get("format") or "format not given")
        return Detection(NAME, dialect, f"config.json: {located.path}.quant_method")

    def read(self, container: Container) -> Checkpoint:
        located = location.locate(container.config)
        if located is None:
            raise FormatError(f"{container.label}: config.json has no quantization_config")
        parsed = config.parse(located.block, container.label)
        declaration = Declaration(
            format=NAME,
            dialect=str(parsed.effective["format"]),
            scheme_of=parsed.scheme_of,
            is_excluded=parsed.is_excluded,
            kv_cache=parsed.kv_cache,
            raw=located.block,
            effective=parsed.effective,
            faults=(*parsed.faults, *_version_faults(located)),
            records=parsed.records,
        )
        return assemble(container, take_census(container.tensors, ROLES), declaration)

    def capabilities(self, options: WriteOptions) -> Capabilities:
        return CAPABILITIES

    def write(self, checkpoint: Checkpoint, options: WriteOptions) -> Draft:
        return write.draft(checkpoint, self, CAPABILITIES)

    def scale_shapes(self, granularity: Granularity, weight_shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Stored scale shapes, the exporters' form first.

        >>> CompressedTensors().scale_shapes(PerChannel(), (64, 256))
        ((64, 1),)
        >>> CompressedTensors().scale_shapes(PerTensor(), (64, 256))
        ((1,), ())
        """
        canonical = granularity.scale_shape(weight_shape)
        if isinstance(granularity, PerTensor):
            return ((1,), ())
        if isinstance(granularity, PerChannel):
            return ((*canonical, 1),)
        if isinstance(granularity, PerHead):
            return ((*canonical, 1, 1),)
        return (canonical,)


def _version_faults(located: location.Located) -> tuple[Fault, ...]:
    """Keys without which one of the loaders reads garbage although the tensors are right."""
    faults = []
    status = located.block.get("quantization_status")
    if status != "compressed":
        faults.append(
            Fault(
                "ct-status",
                "transformers loads the weights unscaled or with made-up scales",
                "config.json",
                expected='quantization_status "compressed"',
                found=repr(status) if status is not None else "nothing",
            )
        )
    groups = located.block.get("config_groups") or {}
    own = [group.get("format") for group in groups.values() if isinstance(group, dict)]
    # Without groups only the KV cache is quantized, and no format is asked for.
    if groups and located.block.get("format") not in config.FP8_FORMATS and not (own and all(own)):
        faults.append(
            Fault(
                "ct-format",
                "vLLM finds no FP8 scheme without the format",
                "config.json",
                expected='format "float-quantized"',
                found=repr(located.block.get("format")),
            )
        )
    sparsity = located.block.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("targets"):
        message = "a sparsity_config with targets stops vLLM, although the storage is dense"
        faults.append(Fault("ct-sparsity", message, "config.json", None, "sparsity_config = {}", "targets"))
    classes = sorted(config.LINEAR_CLASSES.intersection(located.block.get("ignore") or ()))
    if classes:
        message = "a class name in ignore: transformers skips all such modules, vLLM none"
        faults.append(Fault("ct-ignore-class", message, "config.json", None, "module names", ", ".join(classes)))
    if located.path == location.LEGACY_KEY:
        faults.append(
            Fault(
                "config-legacy-key",
                "the block sits under a key that newer readers do not look at",
                "config.json",
            )
        )
    return tuple(faults)
