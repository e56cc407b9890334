"""``ckptkit doctor``."""

from __future__ import annotations

import click

from ckptkit.cli.command import Command
from ckptkit.cli.options import json_option, print_json


@click.command(
    "doctor",
    cls=Command,
    finds=True,
    examples=[("ckptkit doctor --json", "what to send with a report of a defect")],
)
@json_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Say what this machine has: versions, extras, GPU, the Hub's login, engines. No token is shown.

    Exit code 1 if something that ckptkit needs is missing or broken; what is absent and optional is no fault.
    """
    from ckptkit import doctor
    from ckptkit.report import doctor_text

    found = doctor.examine()
    print_json(found.to_json(), "doctor") if as_json else doctor_text.show(found)
    context.exit(0 if found.healthy else 1)
