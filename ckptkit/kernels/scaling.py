"""Which elements of the two operands of a product share a scale: the canonical model in the kernels' words.

| activations | weights | a_scale | weight_scale |
|---|---|---|---|
| per-token | per-channel | [M] | [N] |
| per-tensor | per-tensor | [] | [] |
| per-token | per-tensor | [M] | [] |
| per-group 128 | per-block 128x128 | [M, ceil(K/128)] | [ceil(N/128), ceil(K/128)] |

Other pairs of these work too. A scaling is declared, never guessed from the shapes of the scales.
"""

from __future__ import annotations

import re
from typing import Literal

from ckptkit.errors import UsageError
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Scheme
from ckptkit.record import record

Sharing = Literal["shared", "row", "group"]

_NAME = re.compile(r"(tensor|token|group(\d+))-(tensor|channel|block(\d+)x(\d+))")


@record
class Scaling:
    """How A [M, K] and W [N, K] are scaled. ``a_group`` and ``b_block`` are 1 where no scale depends on K."""

    a: Sharing
    b: Sharing
    a_group: int = 1
    b_block: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, scheme: Scheme) -> Scaling:
        """The scaling of a module's scheme. Raises UsageError when it does not multiply FP8 by FP8."""
        if scheme.input is None:
            raise UsageError("activations are not quantized: there is no FP8 product to run")
        activations, weights = scheme.input.granularity, scheme.weight.granularity
        a_group = activations.size if isinstance(activations, PerGroup) else 1
        a = _pick(activations, {PerTensor: "shared", PerToken: "row", PerGroup: "group"})
        b = _pick(weights, {PerTensor: "shared", PerChannel: "row", PerBlock: "group"})
        block = (weights.rows, weights.columns) if isinstance(weights, PerBlock) else (1, 1)
        return cls(a, b, a_group, block)

    @classmethod
    def parse(cls, name: str) -> Scaling:
        """
        >>> Scaling.parse("group128-block128x128")
        Scaling(a='group', b='group', a_group=128, b_block=(128, 128))
        >>> Scaling.parse("token-channel").name
        'token-channel'
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise UsageError(f"not a scaling: {name!r}", help="for example token-channel or group128-block128x128")
        a: Sharing = "group" if match[2] else "row" if match[1] == "token" else "shared"
        b: Sharing = "group" if match[4] else "row" if match[3] == "channel" else "shared"
        return cls(a, b, int(match[2] or 1), (int(match[4] or 1), int(match[5] or 1)))

    @property
    def name(self) -> str:
        """A short name, which :meth:`parse` understands."""
        a = {"shared": "tensor", "row": "token", "group": f"group{self.a_group}"}[self.a]
        b = {"shared": "tensor", "row": "channel", "group": f"block{self.b_block[0]}x{self.b_block[1]}"}[self.b]
        return f"{a}-{b}"

    @property
    def depends_on_k(self) -> bool:
        """Whether partial products must be scaled before they are added up."""
        return self.a == "group" or self.b == "group"

    def a_shape(self, m: int, k: int) -> tuple[int, ...]:
        """The shape of the activations' scale.

        >>> Scaling.parse("group128-block128x128").a_shape(5, 300)
        (5, 3)
        """
        return {"shared": (), "row": (m,), "group": (m, -(-k // self.a_group))}[self.a]

    def b_shape(self, n: int, k: int) -> tuple[int, ...]:
        """The shape of the weight's scale: the canonical one of its granularity."""
        rows, columns = self.b_block
        return {"shared": (), "row": (n,), "group": (-(-n // rows), -(-k // columns))}[self.b]


def _pick(granularity: Granularity, table: dict[type, Sharing]) -> Sharing:
    sharing = table.get(type(granularity))
    if sharing is None:
        raise UsageError(f"no kernel for {granularity} here", help=f"known: {', '.join(t.__name__ for t in table)}")
    return sharing


TOKEN_CHANNEL = Scaling("row", "row")
TENSOR_TENSOR = Scaling("shared", "shared")
TOKEN_TENSOR = Scaling("row", "shared")
GROUP_BLOCK = Scaling("group", "group", 128, (128, 128))

#: The scalings that exporters write.
SCALINGS = (TOKEN_CHANNEL, TENSOR_TENSOR, TOKEN_TENSOR, GROUP_BLOCK)
