"""`dense-lt compare RUN RUN ... --out DIR`: finished runs side by side, as a page."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.report.runs import Run

HELP = "compare finished runs: a page, the same as Markdown and LaTeX, figures, numbers as JSON"

WRITTEN = (
    "gets index.html (the page, by itself), report.md, comparison.json (all numbers), tables/*.tex "
    "(LaTeX, booktabs), figures/*.svg and *.png"
)
"""What `--out` holds."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="folder of a finished run, or of a scored predictions file; runs that differ only in "
        "their seeds are averaged",
    )
    parser.add_argument("--out", type=Path, required=True, help=WRITTEN)
    parser.add_argument(
        "--reference", type=Path, help="the RUN to which differences are shown (default: the first)"
    )
    configure_examples(parser)


def configure_examples(parser: argparse.ArgumentParser) -> None:
    """Declare what the example images show."""
    parser.add_argument(
        "--examples", type=int, default=2, help="example images per rule, 0 for none (default: 2)"
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        default=0.2,
        help="lowest score of a detection shown in the example images (default: 0.2)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the report; print the table by group and where the page is."""
    from dense_lt.cli.diagnosing import diagnosed
    from dense_lt.report.gallery import ExampleOptions
    from dense_lt.report.runs import read_run
    from dense_lt.report.tables import summary_table
    from dense_lt.report.write import write_report

    folders = [path.resolve() for path in arguments.runs]
    _check(arguments, folders)
    runs = [diagnosed(with_default_settings(read_run(path))) for path in arguments.runs]
    reference = None
    if arguments.reference is not None:
        reference = runs[folders.index(arguments.reference.resolve())]
    options = ExampleOptions(count=arguments.examples, threshold=arguments.score_threshold)
    page = write_report(runs, arguments.out, reference=reference, examples=options)
    sys.stdout.write(f"{summary_table(runs)}\n\n{written(arguments.out)}\n{page}\n")
    return 0


def with_default_settings(run: Run) -> Run:
    """The run with all settings of this version; see `config.load.with_defaults`."""
    from dense_lt.config.load import with_defaults

    config = None if run.config is None else with_defaults(run.config)
    return run if config is run.config else replace(run, config=config)


def written(out: Path) -> str:
    """The files of a report, a line for each folder and kind."""
    lines = []
    for place, pattern in (("", "*.*"), ("tables/", "*.tex"), ("figures/", "*.svg")):
        found = sorted(path.name for path in (out / place).glob(pattern) if path.is_file())
        kind = "figures/ (also as PNG)" if pattern == "*.svg" else place or f"{out.name}/"
        lines.append(f"{kind}: {', '.join(found)}")
    return "\n".join(lines)


def _check(arguments: argparse.Namespace, folders: list[Path]) -> None:
    twice = sorted({str(path) for path in folders if folders.count(path) > 1})
    if twice:
        raise ConfigError(f"{twice[0]}: this run is given twice; give every run once")
    if arguments.reference is not None and arguments.reference.resolve() not in folders:
        given = ", ".join(str(path) for path in arguments.runs)
        raise ConfigError(
            f"--reference {arguments.reference}: this is not one of the runs compared ({given})"
        )
    if arguments.out.exists() and not arguments.out.is_dir():
        raise ConfigError(f"--out {arguments.out}: this is a file; give a folder")
    check_examples(arguments)


def check_examples(arguments: argparse.Namespace) -> None:
    """Refuse numbers out of range.

    Raises:
        ConfigError: there is one.
    """
    if arguments.examples < 0:
        raise ConfigError(f"--examples {arguments.examples}: must be 0 or more")
    if not 0 <= arguments.score_threshold <= 1:
        raise ConfigError(f"--score-threshold {arguments.score_threshold}: must be in [0, 1]")
