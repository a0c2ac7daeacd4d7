"""The typer application, and the one place where failures become sentences and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from whisper_npu_cli import __version__
from whisper_npu_cli.cli import aie, bench, doctor, emulate, models
from whisper_npu_cli.cli.argv import SWITCH_METAVAR, Grammar, rewrite
from whisper_npu_cli.cli.flags import switch_value
from whisper_npu_cli.cli.streams import (
    PROGRAM,
    StdoutClosed,
    complain,
    note,
    prepare,
    put,
)
from whisper_npu_cli.cli.transcribe import transcribe
from whisper_npu_cli.errors import ExitCode, UsageError, WhisperNpuError

# typer's parent of all wrong-usage exceptions, wherever its release keeps click
_Misuse: Any = typer.BadParameter.__base__

app = typer.Typer(
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"`{PROGRAM} AUDIO...` is short for `{PROGRAM} transcribe AUDIO...`; "
    f"`{PROGRAM} transcribe --help` shows its options.",
)
app.command()(transcribe)
app.add_typer(models.app, name="models")
app.add_typer(aie.app, name="aie")
app.command()(bench.bench)
app.command()(doctor.doctor)
app.command()(emulate.emulate)


def _version(wanted: bool) -> None:
    if wanted:
        put(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        int,
        typer.Option(
            "--debug",
            parser=switch_value,
            metavar=SWITCH_METAVAR,
            help="Show tracebacks of failures; may stand anywhere.",
        ),
    ] = False,
) -> None:
    """Speech to text on the AMD Phoenix NPU, with a CPU engine for every other machine."""
    ctx.obj["debug"] = debug


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code (errors.ExitCode)."""
    prepare()
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run the command line; every failure has been told on standard error on return."""
    state = {"debug": False}
    try:
        command = typer.main.get_command(app)
        code = command.main(
            rewrite(argv, Grammar.of(command)),
            prog_name=PROGRAM,
            obj=state,
            standalone_mode=False,
        )
    except StdoutClosed:
        return ExitCode.OK
    except _Misuse as error:
        return _misused(error)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except WhisperNpuError as error:
        complain(error, state["debug"])
        return error.exit_code
    except Exception as error:
        complain(error, state["debug"])
        return ExitCode.INPUT_FAILED
    if code == ExitCode.INTERRUPTED:
        note("interrupted")
    return code or ExitCode.OK


def _misused(error: Any) -> ExitCode:
    path = error.ctx.command_path if error.ctx else PROGRAM
    complain(UsageError(f"{error.format_message().rstrip('.')}; see `{path} --help`."), debug=False)
    return ExitCode.USAGE
