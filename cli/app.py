"""The command line.

TensorFlow and TFX are imported only inside the commands that need them: `medimg --help` answers at once.
"""

from __future__ import annotations

import os
import sys
import warnings

import typer

from cli import cluster_commands, data_commands, result_commands, run_commands
from cli.options import EXIT_INTERRUPTED
from medimg.errors import MedimgError, UsageError, one_line

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From an imaging archive to a blessed, explained, shareable model.",
)


for commands in (data_commands, run_commands, result_commands, cluster_commands):
    app.add_typer(commands.app)


def main() -> None:
    """Entry point: errors that are the user's business become one line and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.warnoptions:
        # Libraries' notes to their own callers (Google's on each import under Python 3.10) are not the user's
        # business.
        warnings.simplefilter("ignore")
    try:
        app()
    except UsageError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(2)
    except MedimgError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(1)
    except OSError as error:
        sys.stderr.write(f"error: {one_line(str(error))}\n")
        sys.exit(1)
    except SystemExit as leaving:
        # Typer turns Ctrl-C into this code and says nothing.
        if leaving.code == EXIT_INTERRUPTED:
            sys.stderr.write("interrupted; the same command continues where it stopped\n")
        raise


if __name__ == "__main__":
    main()
