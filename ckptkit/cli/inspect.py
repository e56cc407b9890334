"""``ckptkit inspect``."""

from __future__ import annotations

import click

from ckptkit.cli.options import CHECKPOINT, json_option, print_json


@click.command("inspect")
@click.argument("path", type=CHECKPOINT)
@click.option("--tensors", is_flag=True, help="List every tensor too.")
@click.option("--scales/--no-scales", default=None, help="Read scale values. [default: unless PATH is remote]")
@json_option
def command(path: str, tensors: bool, scales: bool | None, as_json: bool) -> None:
    """Say what the checkpoint in PATH is: format, scheme, sizes, modules and scale ranges."""
    from ckptkit import api
    from ckptkit.report import text

    checkpoint = api.open(path)
    summary = api.inspect(checkpoint, scales=scales)
    if as_json:
        document = summary.to_json()
        if tensors:
            document["tensor_list"] = [
                {
                    "name": t.name,
                    "dtype": t.dtype,
                    "shape": list(t.shape),
                    "shard": t.shard,
                    "bytes": t.nbytes,
                }
                for t in checkpoint.container.tensors.values()
            ]
        print_json(document)
        return
    text.show_summary(summary)
    if tensors:
        text.show_tensors(checkpoint.container.tensors.values())
