"""The conversion matrix: what becomes of each scheme in each dialect, from capabilities alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from ckptkit.conversion.adapt import gives_up, reachable
from ckptkit.formats.base import Format, modes, writable
from ckptkit.formats.dialect import Capabilities, Dialect
from ckptkit.model.granularity import Granularity, PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from ckptkit.model.scheme import Quantization, Scheme
from ckptkit.record import record


class Work(str, Enum):
    """What has to be written: a header and a config, new scales, or nothing since the target cannot hold it."""

    HEADER = "header"
    SCALES = "new scales"
    REFUSED = "refused"


@record
class Cell:
    """What a conversion of one scheme into one dialect takes.

    ``inputs_change`` says that inputs are quantized otherwise while running, ``gives_up`` that stored numbers go or
    inputs get coarser, which the user has to allow.
    """

    work: Work
    inputs_change: bool = False
    gives_up: bool = False

    def __str__(self) -> str:
        if self.work is Work.REFUSED:
            return "-"
        allowed = " (`--allow-lossy`)" if self.gives_up else ""
        return f"{self.work.value}{', inputs change' if self.inputs_change else ''}{allowed}"

    @property
    def sign(self) -> str:
        """The cell in a few characters, for a narrow table.

        >>> Cell(Work.SCALES, inputs_change=True, gives_up=True).sign
        '(S ~)'
        """
        if self.work is Work.REFUSED:
            return "-"
        sign = f"{'H' if self.work is Work.HEADER else 'S'}{' ~' if self.inputs_change else ''}"
        return f"({sign})" if self.gives_up else sign


class Row(NamedTuple):
    """A scheme under the name that the table gives it."""

    name: str
    scheme: Scheme


def _scheme(weight: Granularity, inputs: Granularity | None, *, dynamic: bool = False) -> Scheme:
    return Scheme(Quantization(weight), None if inputs is None else Quantization(inputs, dynamic=dynamic))


ROWS = (
    Row("per tensor, static inputs", _scheme(PerTensor(), PerTensor())),
    Row("per tensor, dynamic per-token inputs", _scheme(PerTensor(), PerToken(), dynamic=True)),
    Row("per tensor, dynamic per-tensor inputs", _scheme(PerTensor(), PerTensor(), dynamic=True)),
    Row("per channel, dynamic per-token inputs", _scheme(PerChannel(), PerToken(), dynamic=True)),
    Row("per channel, static inputs", _scheme(PerChannel(), PerTensor())),
    Row("blocks of 128x128, dynamic per-group inputs", _scheme(PerBlock(128, 128), PerGroup(128), dynamic=True)),
    Row("per tensor, weights only", _scheme(PerTensor(), None)),
    Row("per channel, weights only", _scheme(PerChannel(), None)),
)


def cell(scheme: Scheme, capabilities: Capabilities) -> Cell:
    """What a conversion takes that keeps every weight's value, if there is one."""
    for found in reachable(scheme, capabilities):
        finer = found.weight != scheme.weight
        return Cell(Work.SCALES if finer else Work.HEADER, found.input != scheme.input, gives_up(scheme, found))
    return Cell(Work.REFUSED)


def columns(formats: Iterable[Format]) -> tuple[tuple[str, Dialect, Capabilities], ...]:
    """Every dialect that can be written, under the words that a user types for it."""
    return tuple(
        (form.name if dialect is form.dialects[0] else f"{form.name} --mode {dialect.mode}", dialect, capabilities)
        for form in formats
        if form.is_read and modes(form)
        for dialect, capabilities in writable(form, None)
    )


def markdown(formats: Iterable[Format], word: Callable[[Cell], str] = str) -> str:
    """The matrix as a table, with ``word`` for each cell."""
    targets = columns(formats)
    lines = [
        f"| weights and inputs | {' | '.join(f'`{name}`' for name, _, _ in targets)} |",
        f"|---|{'---|' * len(targets)}",
    ]
    for row in ROWS:
        cells = (word(cell(row.scheme, capabilities)) for _, _, capabilities in targets)
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)
