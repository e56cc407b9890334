"""CK307 weight-transposed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptkit.checks.context import Context
from ckptkit.checks.finding import Severity
from ckptkit.checks.registry import rule
from ckptkit.engines.decoder_shapes import decoder_shapes
from ckptkit.errors import Fault
from ckptkit.model.census import is_fp8


@rule("CK307", "weight-transposed", Severity.ERROR, reports=("vllm-project/vllm#47058",))
def weight_transposed(context: Context) -> Iterator[Fault]:
    """A weight is stored [in, out] where the config's sizes say that it must be [out, in].

    Why it hurts: loaders compare the shape and stop, or multiply along the wrong axis where the weight is square.

    Example: ``mlp.down_proj.weight`` [11008, 4096] under ``hidden_size: 4096``.

    Fix: export again; a transposed weight needs its scales transposed too.
    """
    shapes = decoder_shapes(context.dimensions)
    for (kind, shape), weights in context.decoder_weights.items():
        wanted = tuple(extent.size if extent else None for extent in shapes.get(kind, ()))
        # One extent alone may fit by chance; a config with a wrong size is CK312.
        if shape != wanted and shape[::-1] == wanted:
            for weight in weights:
                if is_fp8(weight.dtype) and ".layers." in weight.name:
                    message = "the weight is transposed against the sizes in config.json"
                    expected, found = (str(list(extents)) for extents in (shape[::-1], shape))
                    yield Fault("weight-transposed", message, weight.shard, weight.name, expected, found)
