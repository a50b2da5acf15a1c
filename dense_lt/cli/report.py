"""`dense-lt report RUN`: one finished run as a page, without anything to compare it with."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dense_lt.cli.compare import WRITTEN, check_examples, configure_examples, written
from dense_lt.utils.errors import ConfigError

HELP = "one finished run as a page: scores, cost, diagnosis, example images, every class"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "folder",
        metavar="RUN",
        type=Path,
        help="folder of a finished run, or of a scored predictions file",
    )
    parser.add_argument("--out", type=Path, help=f"{WRITTEN} (default: RUN/report)")
    configure_examples(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report; print the table and where the page is."""
    from dense_lt.cli.diagnosing import diagnosed
    from dense_lt.report.gallery import ExampleOptions
    from dense_lt.report.runs import read_run
    from dense_lt.report.tables import summary_table
    from dense_lt.report.write import write_report

    check_examples(arguments)
    own = read_run(arguments.folder)
    out = own.folder / "report" if arguments.out is None else arguments.out
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: this is a file; give a folder")
    options = ExampleOptions(count=arguments.examples, threshold=arguments.score_threshold)
    page = write_report([diagnosed(own)], out, examples=options)
    sys.stdout.write(f"{summary_table([own])}\n\n{written(out)}\n{page}\n")
    return 0
