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
    """Say what is in PATH: quantization in words, sizes, tensors by kind; of FP8 checkpoints modules and scales too.

    PATH need not be FP8: any folder with safetensors files is counted, and said to be what it is.

    Exit code 0: it was read, whatever it is. 2: it could not be read. What is wrong with it, ckptkit validate says.
    """
    from ckptkit import api
    from ckptkit.report import inventory_text

    found, container = api.look(path, scales=scales)
    listed = [*container.tensors.values()] if tensors and container is not None else []
    if as_json:
        document = found.to_json()
        if tensors:
            document["tensor_list"] = [
                {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "shard": t.shard, "bytes": t.nbytes}
                for t in listed
            ]
        print_json(document)
        return
    inventory_text.show_inventory(found)
    if tensors:
        inventory_text.show_tensors(listed)
