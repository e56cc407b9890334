"""``ckptkit convert``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptkit.cli import completing
from ckptkit.cli.command import Command, Word
from ckptkit.cli.options import CHECKPOINT, json_option, print_json, read_plan, telling
from ckptkit.errors import UsageError
from ckptkit.report import sink

if TYPE_CHECKING:
    from ckptkit.conversion.plan import Plan

_DIRECTION = re.compile(r"^(?P<source>[\w-]+?)\s*(?:→|->|=>|-to-|_to_|\bto\b|:|2)\s*(?P<target>[\w-]+)$")
#: What becomes of the arrow's three bytes where the locale is ASCII, or has one byte for each character.
_ARROWS = ("\udce2\udc86\udc92", "\u00e2\u0086\u0092", "\u00e2\u2020\u2019")
#: Two words with something between them that may be meant as an arrow.
_ALMOST = re.compile(r"(\w[\w-]*?)\W+(\w[\w-]*)")

_MODULES_HELP = "Dequantize (--to bf16, f16, f32) or quantize (--scheme) the modules of these names only; repeatable."
_SCHEME_HELP = "Quantize plain weights: FP8_DYNAMIC or FP8_BLOCK for ct, ptpc_fp8 for quark, and so on."
_SKIP_HELP = "With --scheme: leave these modules alone too; repeatable."
_ALL_HELP = "With --scheme: leave heads, routers, towers and prediction layers alone."
_MX_HELP = "Make FP8 in blocks of MXFP4 and MXFP8 modules for a target too that could carry them."
_EXPERTS_HELP = "Make a module of each stacked expert, or stack the experts of a layer."
_FUSED_HELP = "Make q, k and v, gate and up of projections that are stored as one, or the reverse."
_GRANULARITY_HELP = "Write the one scale of a weight for each of its channels or 128x128 blocks."
_SCALE_DTYPE_HELP = "The type of weight scales: F32, BF16, F16 or E8M0; refused where it does not hold every one."
_DROP_KV_HELP = "Leave the scales of the KV cache out (with --allow-lossy)."
_SCALES_FROM_HELP = "Take missing scales of inputs (--scheme) and of the KV cache from this checkpoint."
_SHARDS_HELP = "New shards of at most so many bytes of tensors, as in 5GB or 500MiB. [default: the source's shards]"
_MODE_HELP = (
    "A dialect of the target, where it has several: quark or fp8 for Quark, block, tensor or transformers for fp8; by "
    "default the first that holds the checkpoint."
)


@click.command(
    "convert",
    cls=Command,
    examples=[
        ("ckptkit convert quark→ct Llama-3.1-8B-FP8-KV out --dry-run", "the plan and its cost; writes nothing"),
        ("ckptkit convert quark→ct Llama-3.1-8B-FP8-KV out", "a model of AMD's for vLLM, bit-exactly"),
        ("ckptkit convert Llama-3.1-8B-FP8 out --to bf16", "weights times their scales"),
        ("ckptkit convert Llama-3.1-8B out --to ct --scheme FP8_DYNAMIC", "quantize without data"),
    ],
)
@click.argument(
    "arguments", nargs=-1, required=True, metavar="[FROM→TO] SOURCE DESTINATION", shell_complete=completing.sources
)
@click.option(
    "--to",
    "target",
    metavar="FORMAT",
    shell_complete=completing.FORMATS,
    help="The target format, when FROM→TO is not given.",
)
@click.option("--mode", metavar="DIALECT", shell_complete=completing.MODES, help=_MODE_HELP)
@click.option("--quark-mode", hidden=True, help="The same as --mode.")
@click.option("--plan", "plan_file", metavar="FILE", help="Carry out the plan that --dry-run --json has written.")
@click.option("--allow-lossy", is_flag=True, help="Let values be rounded, or stored scales go, as the plan says.")
@click.option("--modules", multiple=True, metavar="GLOB", help=_MODULES_HELP)
@click.option("--scheme", metavar="NAME", shell_complete=completing.SCHEMES, help=_SCHEME_HELP)
@click.option("--skip", multiple=True, metavar="GLOB", help=_SKIP_HELP)
@click.option("--default-skips/--no-default-skips", default=True, show_default=True, help=_ALL_HELP)
@click.option("--mx-to-fp8", is_flag=True, help=_MX_HELP)
@click.option("--experts", type=Word(("split", "stack")), help=_EXPERTS_HELP)
@click.option("--fused", type=Word(("split", "fuse")), help=_FUSED_HELP)
@click.option("--granularity", type=Word(("channel", "block")), help=_GRANULARITY_HELP)
@click.option("--scale-dtype", metavar="DTYPE", help=_SCALE_DTYPE_HELP)
@click.option("--drop-kv-scales", is_flag=True, help=_DROP_KV_HELP)
@click.option("--scales-from", metavar="CHECKPOINT", type=CHECKPOINT, help=_SCALES_FROM_HELP)
@click.option("--max-shard-size", metavar="SIZE", help=_SHARDS_HELP)
@click.option("--dry-run", is_flag=True, help="Print the plan and its cost, or why it is refused; write nothing.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 64), envvar="CKPTKIT_JOBS", help="Workers. [default: CPUs, at most 4]"
)
@click.option("--fsync/--no-fsync", default=True, show_default=True, help="Make the result durable before renaming.")
@json_option
def command(
    arguments: tuple[str, ...],
    target: str | None,
    mode: str | None,
    quark_mode: str | None,
    plan_file: str | None,
    dry_run: bool,
    jobs: int | None,
    fsync: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Convert the checkpoint in SOURCE into the new folder DESTINATION.

    FROM→TO is for example quark→ct or ct→quark; quark:ct, quark2ct and quark-to-ct are the same without the
    arrow. The weights are copied bit for bit, dequantized (--to bf16) or quantized (--scheme); anything the target
    cannot hold is refused before the first byte is written, and DESTINATION appears complete or not at all.
    """
    from ckptkit import api
    from ckptkit.report import result_text, text
    from ckptkit.report.progress import ByteProgress

    if None not in (mode, quark_mode) and mode != quark_mode:
        raise UsageError("--mode and --quark-mode are the same: give one of them")
    mode = mode or quark_mode
    if plan_file is not None:
        carry_out(plan_file, arguments, target, jobs=jobs or default_jobs(), fsync=fsync, as_json=as_json)
        return
    expected, to, paths = parse_arguments(arguments, target)
    if len(paths) != 2 and not (dry_run and len(paths) == 1):
        raise UsageError("give a source folder and a destination folder", help="ckptkit convert quark→ct SRC DST")
    choices |= {"to": to, "expect": expected, "mode": mode}
    quiet = sink.manner().quiet
    if dry_run:
        with ByteProgress("planning", quiet=quiet):
            made = api.plan(*paths, **choices)
        print_json(made.to_json(), "plan") if as_json else text.show_plan(made)
        return
    with ByteProgress("planning", quiet=quiet) as progress:

        def on_plan(made: Plan) -> None:
            if not (as_json or quiet):
                with progress.aside():
                    text.show_plan(made)
            progress.start(made.cost.total, "converting")

        result = api.convert(
            *paths,
            **choices,
            jobs=jobs or default_jobs(),
            fsync=fsync,
            on_plan=on_plan,
            progress=progress.advance,
        )
    with telling(f"written: {result.destination}"):
        print_json(result.to_json(), "result") if as_json else result_text.show_result(result)


def carry_out(
    plan_file: str, paths: tuple[str, ...], target: str | None, *, jobs: int, fsync: bool, as_json: bool
) -> None:
    """``--plan``: write what a plan says, on the very files that it was made for."""
    from ckptkit import api
    from ckptkit.report import result_text, text
    from ckptkit.report.progress import ByteProgress

    if target is not None or len(paths) != 2:
        raise UsageError("a plan says all but the folders", help="ckptkit convert --plan FILE SRC DST")
    made = read_plan(plan_file)
    with ByteProgress("converting", quiet=sink.manner().quiet) as progress:
        if not (as_json or sink.manner().quiet):
            text.show_plan(made)
        progress.start(made.cost.total)
        result = api.execute(made, *paths, jobs=jobs, fsync=fsync, progress=progress.advance)
    with telling(f"written: {result.destination}"):
        print_json(result.to_json(), "result") if as_json else result_text.show_result(result)


def parse_arguments(arguments: tuple[str, ...], target: str | None) -> tuple[str | None, str, list[str]]:
    """Split the arguments into (source format or None, target format, paths).

    >>> parse_arguments(("quark→ct", "a", "b"), None)
    ('quark', 'ct', ['a', 'b'])
    >>> parse_arguments(("a", "b"), "ct")
    (None, 'ct', ['a', 'b'])
    """
    first = arguments[0]
    for arrow in _ARROWS:
        first = first.replace(arrow, "→")
    direction = _DIRECTION.match(first)
    if target is None:
        if direction is None or Path(arguments[0]).is_dir():
            raise _no_target(arguments)
        return direction["source"], direction["target"], list(arguments[1:])
    if direction is not None and len(arguments) == 3:
        raise UsageError("the target format is given twice", help="drop --to, or drop FROM→TO")
    return None, target, list(arguments)


def _no_target(arguments: tuple[str, ...]) -> UsageError:
    """The first argument does not name two formats: it is quoted back where it seems to be meant so."""
    help_text = "name the formats: 'ckptkit convert quark→ct SRC DST', or give --to ct"
    almost = _ALMOST.fullmatch(arguments[0])
    if len(arguments) < 3 and (almost is None or "/" in arguments[0] or Path(arguments[0]).exists()):
        return UsageError("the target format is not given", help=help_text)
    if almost is not None:
        help_text = f"did you mean {almost[1]}→{almost[2]}? {help_text}"
    return UsageError(f"{arguments[0]!r} is not FROM→TO", help=help_text)


def default_jobs() -> int:
    """Workers that keep a disk busy: as many as CPUs, at most 4."""
    return min(4, os.cpu_count() or 1)
