"""`steelyard`: one module per command, and the one place where errors become exit codes.

Exit codes: 0 done, 1 the work failed, 2 the input or usage is wrong, 130 interrupted.
"""

from __future__ import annotations

import errno
import sqlite3
import sys
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError

from steelyard import __version__
from steelyard.cli import (
    advise,
    ask,
    check,
    compare,
    export,
    feedback,
    keys,
    knowledge,
    plan,
    pretrain,
    publish,
    refresh,
    report,
    rollback,
    serve,
    status,
    weigh,
)
from steelyard.errors import InputError, SteelyardError

INTERRUPTED = 130
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
SQLITE_FULL = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_BUSY")

app = typer.Typer(
    name="steelyard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"steelyard {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say it and exit."),
    ] = False,
) -> None:
    """Weigh prompting against fine-tuning on your own data, and see which to use."""


app.command("check")(check.command)
app.command("advise")(advise.command)
app.command("weigh")(weigh.command)
app.command("publish")(publish.command)
app.command("serve")(serve.command)
app.command("status")(status.command)
app.command("refresh")(refresh.command)
app.command("rollback")(rollback.command)
app.command("ask")(ask.command)
app.command("report")(report.command)
app.command("plan")(plan.command)
app.command("pretrain")(pretrain.command)
app.command("compare")(compare.command)
app.command("export")(export.command)
app.add_typer(feedback.app, name="feedback")
app.add_typer(keys.app, name="keys")
app.add_typer(knowledge.app, name="knowledge")


def main() -> None:
    """The console script."""
    try:
        app()
    except InputError as error:
        _leave(f"error: {error}", 2)
    except SteelyardError as error:
        _leave(f"failed: {error}", 1)
    except (OSError, sqlite3.OperationalError, OperationalError) as error:
        if (told := of_the_machine(error)) is None:
            raise
        _leave(*told)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # typer turns Ctrl-C into this
            _leave("interrupted; the same command goes on from here", INTERRUPTED)
        raise


def of_the_machine(error: Exception) -> tuple[str, int] | None:
    """The message and exit code where a disk or a permission is what is wrong, not the program.

    >>> of_the_machine(PermissionError(errno.EACCES, "Permission denied", "rows.csv"))
    ('error: rows.csv: Permission denied; expected a place that you may read and write', 2)
    """
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        if error.errno in FORBIDDEN:
            what = f"{place}{error.strerror}; expected a place that you may read and write"
            return f"error: {what}", 2
        if error.errno in FULL:
            what = f"{place}{error.strerror}; free some, and the same command goes on from here"
            return f"failed: {what}", 1
        return None
    cause = error.orig if isinstance(error, OperationalError) else error
    if getattr(cause, "sqlite_errorname", "").startswith(SQLITE_FULL):
        what = f"a database of the home folder cannot be written ({cause})"
        return f"failed: {what}; expected room on a disk that you may write to", 1
    return None


def _leave(message: str, code: int) -> None:
    sys.stderr.write(message + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
