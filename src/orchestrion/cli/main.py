"""`orchestrion`: the command that all others are part of."""

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from orchestrion.errors import UserError
from orchestrion.files import explanation
from orchestrion.version import __version__

USER_ERROR = 2
STOPPED = 130  # what shells report for Ctrl-C

_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "ALLOC_FAILED")  # in the words of torch
_LESS_MEMORY = {
    "train": "in --config, raise training.accumulate, set training.recompute, or lower training.batch_size",
    "compose": "make fewer --takes, or fewer songs --together; or use the machine's own memory: --device cpu",
}

COMMANDS = {
    "compose": "orchestrion.cli.compose:compose",
    "continue": "orchestrion.cli.songs:continue_",
    "upsample": "orchestrion.cli.songs:upsample",
    "repaint": "orchestrion.cli.songs:repaint",
    "decode": "orchestrion.cli.songs:decode",
    "align": "orchestrion.cli.align:align",
    "songs": "orchestrion.cli.songs:songs",
    "models": "orchestrion.cli.models:models",
    "data": "orchestrion.cli.data:data",
    "train": "orchestrion.cli.train:train",
    "encode": "orchestrion.cli.encode:encode",
    "evaluate": "orchestrion.cli.evaluate:evaluate",
    "features": "orchestrion.cli.features:features",
    "map": "orchestrion.cli.studio:map_",
    "studio": "orchestrion.cli.studio:studio",
}


class LazyGroup(click.Group):
    """Commands that are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="orchestrion")
def cli() -> None:
    """Compose music as raw audio, and train the models that do.

    Results go to standard output, progress to standard error. Status 2 means that something asked for cannot
    be done, and the message says what to do instead.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # for what its encoding does not have
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = cli.main(given, "orchestrion", standalone_mode=False)
    except UserError as error:
        return _refused(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return STOPPED
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        hint = _LESS_MEMORY.get(given[0], "end other programs, or use the machine's own memory: --device cpu")
        return _refused(UserError("there is not enough memory for this", hint))
    except OSError as error:
        if error.filename is not None:
            return _refused(explanation(error, error.filename, "read"))
        reason = _why_output_is_lost()
        if reason is None:
            raise
        click.echo(f"orchestrion: the result cannot be written to standard output: {reason}", err=True)
        return USER_ERROR
    return status if isinstance(status, int) else 0


def _refused(error: UserError) -> int:
    """Say what is wrong; returns the exit status."""
    click.echo(f"orchestrion: {error.problem}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
    return USER_ERROR


def _why_output_is_lost() -> str | None:
    """Why standard output takes nothing, None where it does; what is left of what it was given is given up."""
    try:
        sys.stdout.write("\n")  # where nothing is buffered, to flush alone would not tell
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try once more when it ends
        return error.strerror
    return None
