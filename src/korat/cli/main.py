"""The program ``korat``: its verbs, and the one place where errors become words and exit codes.

| what happened                   | standard error                | exit code |
|---------------------------------|-------------------------------|-----------|
| done                            |                               | 0         |
| a ``KoratError``                | its sentence                  | 1         |
| a defect                        | one line, how to see more     | 1         |
| wrong usage                     | what is wrong, where help is  | 2         |
| interrupted                     |                               | 130       |
| nobody reads the output         |                               | 1         |
"""

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.exceptions import Abort, Exit, TyperException
from typer.main import get_command as built

from korat.cli.lazy import SETTINGS, Entry, LazyGroup
from korat.core.errors import KoratError

_OBJECTS = "Calico's verbs"
_POLICY = "Policy and Azure"
_LAB = "The lab"
_PROGRAMS = "Programs"


class Korat(LazyGroup):
    """Every verb, in the order of ``korat --help``."""

    entries: tuple[Entry, ...] = (
        Entry("lab", "korat.cli.lab:app", "An Azure with VMs and pods on this machine.", _LAB),
        Entry("apply", "korat.cli.verbs:apply", "Create or replace objects from files.", _OBJECTS),
        Entry("get", "korat.cli.get:get", "Show objects: tables, JSON, YAML.", _OBJECTS),
        Entry("delete", "korat.cli.verbs:delete", "Delete objects.", _OBJECTS),
        Entry("create", "korat.cli.verbs:create", "Create objects that are new.", _OBJECTS),
        Entry("replace", "korat.cli.verbs:replace_", "Replace objects that exist.", _OBJECTS),
        Entry("patch", "korat.cli.patch:patch", "Change parts of one object.", _OBJECTS),
        Entry("label", "korat.cli.patch:label", "Set or remove a label.", _OBJECTS),
        Entry("validate", "korat.cli.verbs:validate", "Check files, without a store.", _OBJECTS),
        Entry("ipam", "korat.cli.ipam:app", "Who has which address, and what leaked.", _OBJECTS),
        Entry("datastore", "korat.cli.datastore:app", "Lock and unlock the store.", _OBJECTS),
        Entry("version", "korat.cli.version:version", "Show korat's version.", _OBJECTS),
        Entry("policy", "korat.cli.policy:app", "Who may talk to whom, and why.", _POLICY),
        Entry("azure", "korat.cli.azure:app", "What Azure must hold for pods to talk.", _POLICY),
        Entry("node", "korat.cli.program:node", "The program of each node.", _PROGRAMS),
        Entry("controllers", "korat.cli.program:controllers", "The cluster's program.", _PROGRAMS),
        Entry("cni", "korat.cli.program:cni", "The CNI plugins.", _PROGRAMS),
    )


app = typer.Typer(
    name="korat",
    cls=Korat,
    help="Calico networking and network policy for Azure.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)


@app.callback()
def _root() -> None:
    """Calico networking and network policy for Azure."""


def main() -> None:
    """Run the command line and exit."""
    with Path(os.devnull).open("w") as nobody:
        # a stream that the caller closed is None; what is written to it is for nobody
        sys.stdout = sys.stdout or nobody
        sys.stderr = sys.stderr or nobody
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")  # the marks, and JSON, whatever the locale
        sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = built(app)(args=list(arguments), prog_name="korat", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, Abort):
        return 130
    except Exit as error:
        return error.exit_code
    except Exception as error:  # noqa: BLE001  # the last line of defence: a sentence, no traceback
        return _failure(error)
    return code if isinstance(code, int) else 0


def _failure(error: Exception) -> int:
    """Say what went wrong; the table above."""
    match error:
        case BrokenPipeError():
            _give_up_output()
            return 1
        case OSError(errno=errno.ENOSPC):
            _give_up_output()
            return _fail("cannot write: no space left on device; make room, then try again")
        case TyperException():
            return _usage(error)
        case KoratError():
            return _fail(str(error))
        case _:
            return _defect(error)


def _give_up_output() -> None:
    """The interpreter flushes standard output once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: TyperException) -> int:
    """Wrong words on the command line."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "korat"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())  # noqa: T201  # help was asked for by saying nothing
        return 2
    print(f"korat: {error.format_message()}", file=sys.stderr)  # noqa: T201  # the error boundary
    print(f"Try '{where} --help'.", file=sys.stderr)  # noqa: T201
    return 2


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201  # the error boundary
    return 1


def _defect(error: Exception) -> int:
    """A fault of korat's own."""
    if os.environ.get("KORAT_DEBUG"):
        traceback.print_exception(error)
        return 1
    what = " ".join(str(error).split())
    return _fail(f"korat has a defect: {type(error).__name__}: {what}; KORAT_DEBUG=1 shows where")
