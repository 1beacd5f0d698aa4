"""The command line: parse, call, print. What a user did wrong is one line on standard error and exit code 2."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from coevo.cli.check import check
from coevo.cli.compare import compare, exact
from coevo.cli.correlate import correlate
from coevo.cli.costs import costs
from coevo.cli.cross import cross
from coevo.cli.evaluate import evaluate
from coevo.cli.export import export
from coevo.cli.import_ import import_accelerator
from coevo.cli.listing import list_known
from coevo.cli.lut import lut
from coevo.cli.map import map_layers
from coevo.cli.run import report, run
from coevo.cli.validate import validate
from coevo.cli.verify import verify
from coevo.errors import CoevoError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

KEEPING = ("run", "compare", "correlate", "lut")
"""Commands that keep what they have done and go on from there."""


def _version() -> str:
    try:
        return version("coevo")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(_version())
def app() -> None:
    """Searches networks and accelerators together: Pareto fronts of co-designs."""


for command in (
    run, report, evaluate, map_layers, export, verify, import_accelerator, check, list_known, validate, correlate,
    costs, lut, compare, exact, cross,
):  # fmt: skip
    app.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Runs the program and exits: 0, 2 for a mistake of the user's or the surroundings', 130 after Ctrl-C."""
    # Else Python, as it exits, looks through all of torch and numba for what it may collect: seconds, for nothing.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:  # noqa: PLR0911 (one return per way to end)
    try:
        app.main(arguments, prog_name="coevo", standalone_mode=False)
    except CoevoError as error:
        return _complain(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 2
    except click.ClickException as error:
        return _complain(error.format_message())
    except (KeyboardInterrupt, click.exceptions.Abort):
        print(f"\ninterrupted; {_what_remains(arguments)}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone; silence Python's own complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror or error}")
    except MemoryError as error:
        return _complain(f"out of memory; take smaller sizes or fewer --jobs ({error})")
    except Exception as error:
        from coevo.library import plugin_line

        plugin = plugin_line(error)
        if plugin is None:
            raise
        file, line = plugin
        return _complain(f"{file}:{line}: the plug-in fails: {type(error).__name__}: {error}")
    return 0


def _what_remains(arguments: list[str] | None) -> str:
    given = sys.argv[1:] if arguments is None else arguments
    goes_on = bool(given) and given[0] in KEEPING
    return "nothing evaluated is lost, the same command goes on" if goes_on else "the same command begins anew"


def _complain(text: str) -> int:
    print("error:", " ".join(text.split()), file=sys.stderr)
    return 2
