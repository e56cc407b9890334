"""``ckptkit serve``."""

from __future__ import annotations

import click

from ckptkit.cli import completing
from ckptkit.cli.command import Command
from ckptkit.cli.options import CHECKPOINT, json_option, print_json
from ckptkit.report import sink


@click.command(
    "serve",
    cls=Command,
    finds=True,
    examples=[
        ("ckptkit serve Llama-3.1-8B-FP8-KV", "the vllm command, each option with its reason"),
        ("ckptkit serve org/model --for sglang --tp 4", "for SGLang, over four devices"),
        ("ckptkit serve org/model --gpu l4", "whether it runs on that hardware, and how"),
        ("$(ckptkit serve -q Llama-3.1-8B-FP8-KV)", "start it"),
    ],
)
@click.argument("path", type=CHECKPOINT)
@click.option(
    "--for",
    "engine",
    metavar="ENGINE",
    default="vllm",
    show_default=True,
    shell_complete=completing.ENGINES,
    help="vllm, sglang or llama.cpp, whose converter it is then.",
)
@click.option(
    "--tp", "--tensor-parallel", "size", metavar="SIZE", type=click.IntRange(min=1), help="Over so many devices."
)
@click.option(
    "--gpu",
    metavar="GPU",
    shell_complete=completing.GPUS,
    help="On this hardware: h100, l4, mi300x, sm_90, cpu, ...",
)
@json_option
@click.pass_context
def command(context: click.Context, path: str, engine: str, size: int | None, gpu: str | None, as_json: bool) -> None:
    """Print the command that serves PATH as it is meant, with the options that this checkpoint needs. Starts nothing.

    Exit code 0: it serves, as far as is known. 1: the engine refuses it, is silently wrong, or cannot split it so.
    """
    from ckptkit import api
    from ckptkit.report import serving_text

    found = api.serving(path, engine=engine, tensor_parallel=size, gpu=gpu)
    print_json(found.to_json(), "serving") if as_json else serving_text.show(found, quiet=sink.manner().quiet)
    context.exit(0 if found.works else 1)
