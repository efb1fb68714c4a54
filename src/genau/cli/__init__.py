"""The command line: each verb parses, calls one function, prints, and returns an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 3 finished but some images failed, 4 a gate that was asked for is not met.
Results go to stdout, everything else to stderr. Heavy modules are imported inside the verbs.
"""

import io
import logging
import sys

import typer

from genau.cli import conversing, data, evaluating, recipes, weights
from genau.cli.asking import ask
from genau.cli.calibrating import calibrate
from genau.cli.certifying import certificate
from genau.cli.inspecting import inspect
from genau.cli.terminal import EXIT_FAILED, EXIT_GATE, EXIT_SOME_FAILED, EXIT_USAGE, quiet_libraries, say
from genau.cli.training import train
from genau.errors import GenAUError, UsageError

__all__ = ["EXIT_FAILED", "EXIT_GATE", "EXIT_SOME_FAILED", "EXIT_USAGE", "app", "main"]

app = typer.Typer(
    help="Visual inspection with one vision-language model: score, map, typed defects, words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(inspect)
app.add_typer(recipes.app, name="recipe")
app.command()(ask)
app.command()(certificate)
evaluating.app.command("mmad")(conversing.mmad)
evaluating.app.command("visa-dr")(conversing.visa_dr)
app.add_typer(evaluating.app, name="eval")
app.command()(train)
app.command()(calibrate)
app.add_typer(data.app, name="data")
app.command()(weights.info)
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Run the command line; expected errors become a message and an exit code, our own bugs a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for stream in (sys.stdout, sys.stderr):  # a file name that is no UTF-8 must not end a run
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    quiet_libraries()
    try:
        app()
    except UsageError as error:
        say(f"genau: {error}")
        sys.exit(EXIT_USAGE)
    except GenAUError as error:
        say(f"genau: {error}")
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)
    except OSError as error:  # a folder without rights, a full disk behind stdout
        where = f" ({error.filename})" if error.filename else ""
        say(
            f"genau: {error.strerror or error}{where}. Check that it exists, that you may use it, and its disk's space."
        )
        sys.exit(EXIT_FAILED)
