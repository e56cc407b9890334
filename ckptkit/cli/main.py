"""The entry point: commands loaded when they are called, errors in one sentence, exit codes.

Exit codes: 0 clean or done; 1 findings or differences; 2 refused, or could not run; 130 interrupted. Of what is not FP8
``inspect`` says what it is (0), ``validate`` that only its files were judged (1); commands that need FP8 refuse it (2).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from ckptkit import __version__
from ckptkit.cli.command import Group, named
from ckptkit.cli.options import drop_output, print_json
from ckptkit.errors import CkptkitError, UsageError, did_you_mean, printable
from ckptkit.report import sink
from ckptkit.report.encoding import SPELLED_OUT

#: Command -> its one-line help, so that ``--help`` imports no command.
COMMANDS = {
    "card": "Write or update the quantization section of a model card.",
    "completion": "Print what sets completion up for bash, zsh or fish.",
    "convert": "Convert a checkpoint to another format, bit-exactly.",
    "diff": "Compare two checkpoints as models, whatever their formats.",
    "doctor": "Say what this machine has: versions, extras, GPU, engines.",
    "golden": "Check this machine's FP8 products against golden outputs.",
    "help": "Show the help of a command.",
    "hook": "Keep broken checkpoints out of git: pre-push, pre-commit, hf.",
    "inspect": "Say what a checkpoint is.",
    "report": "Write a page to look at: findings, engines, charts by layer.",
    "rule": "Explain a rule.",
    "serve": "Print the command that serves a checkpoint as it is meant.",
    "upload": "Check a checkpoint, and upload it to the Hub if it is sound.",
    "validate": "Check a checkpoint for everything that breaks engines.",
    "version": "Show the version.",
}
#: What people type who know another tool -> the command that they mean.
_MEANT = {
    **dict.fromkeys(("check", "lint", "verify", "fix", "matrix"), "validate"),
    **dict.fromkeys(("info", "show", "ls", "cat", "scan", "view"), "inspect"),
    **dict.fromkeys(("compare", "cmp"), "diff"),
    **dict.fromkeys(("page", "html", "plot", "chart"), "report"),
    **dict.fromkeys(("explain", "rules"), "rule"),
    **dict.fromkeys(("push", "publish"), "upload"),
    **dict.fromkeys(("env", "environment", "status"), "doctor"),
    **dict.fromkeys(("quantize", "dequantize", "export", "cp"), "convert"),
    "completions": "completion",
    "hooks": "hook",
}


class ClosedPipeError(Exception):
    """Nobody reads what is printed any more. Under its own name click would end the process with 1."""


@contextmanager
def _closed_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ClosedPipeError from error


class LazyGroup(Group):
    """A group that imports a command's module only when the command runs."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """The context of the command line, which may print help."""
        with _closed_pipe():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _closed_pipe():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, whose module is imported now; None for a name that is not one."""
        if cmd_name not in COMMANDS:
            return None  # resolve_command says what may be meant
        module = importlib.import_module(f"ckptkit.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def meant(self, word: str) -> str | None:
        """The command that people mean who know another tool."""
        return _MEANT.get(word.lower())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands into the help."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="ckptkit")
@click.pass_context
def cli(context: click.Context) -> None:
    """Convert and validate FP8 LLM checkpoints without loading them.

    \b
    ckptkit inspect PATH
    ckptkit validate PATH
    ckptkit convert quark→ct SOURCE DESTINATION
    ckptkit diff LEFT RIGHT

    PATH is a folder, org/repo on the Hub, or a URL. 'ckptkit help COMMAND' explains a command with examples.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line and exit."""
    warnings.showwarning = _show_warning
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores the second, and means it
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SPELLED_OUT)  # an arrow must not fail on a terminal that cannot show it
    atexit.register(gc.freeze)  # looking through all objects for garbage at the end takes a tenth of a quick command
    sink.reset()
    code = _guarded(_run)
    code = _guarded(lambda: sink.finish(code))
    sys.exit(code)


def _run() -> int:
    """Run the command line; the exit code."""
    try:
        found = cli.main(standalone_mode=False, prog_name=_program_name())
    except SystemExit as stop:
        found = stop.code
    if sys.stdout is not None:  # a closed one
        sys.stdout.flush()
    return found if isinstance(found, int) else 0


def _guarded(work: Callable[[], int]) -> int:
    """Do a piece of work; the exit code, with what there is to say about it said."""
    try:
        return _told(work)
    except KeyboardInterrupt:  # one more, while the end of the first was told
        return 130


def _told(work: Callable[[], int]) -> int:
    try:
        return work()
    except click.ClickException as error:
        return _refuse(_usage_error(error))
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; no unfinished file was left behind", file=sys.stderr)
        return 130
    except CkptkitError as error:
        return _refuse(error)
    except (BrokenPipeError, ClosedPipeError):
        drop_output()
        return 141
    except OSError as error:
        drop_output()
        # What has no better words of its own: a full disk behind stdout, a folder on the way that cannot be entered.
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {printable(where)}{error.strerror or error}", file=sys.stderr)
        return 2
    except Exception as error:
        from ckptkit.report.internal import internal_error

        return _refuse(internal_error(error, sys.argv[1:]))


def _usage_error(error: click.ClickException) -> UsageError:
    """What click has to say about options and arguments, in our form."""
    if isinstance(error, click.BadParameter) and error.param is not None:
        error.param_hint = named(error.param, error.ctx)
    message = error.format_message()
    context = getattr(error, "ctx", None)
    help_text = f"'{context.command_path} --help' shows what can be given" if context is not None else ""
    if isinstance(error, click.NoSuchOption):
        message = f"no such option {error.option_name}"
        help_text = did_you_mean(error.option_name, error.possibilities or (), help_text)
    return UsageError(f"{message[:1].lower()}{message[1:]}".rstrip("."), help=help_text or None)


def _refuse(error: CkptkitError) -> int:
    """Show an error to people on standard error, and where JSON was promised as a document on standard output."""
    from ckptkit.report.text import show_error

    show_error(error)
    if sink.manner().machine or "--json" in sys.argv[1:]:
        try:
            print_json(error.to_json(), "error")
        except OSError:
            drop_output()
    return 2


def _show_warning(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """One line for what somebody should know; where in our code it was noticed is nobody's business."""
    print(f"warning: {printable(str(message))}", file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """A polite kill takes the same way out as Ctrl-C, so that staging folders are removed."""
    raise KeyboardInterrupt


def _program_name() -> str:
    return "hf ckptkit" if os.path.basename(sys.argv[0]) == "hf-ckptkit" else "ckptkit"


if __name__ == "__main__":
    main()
