"""`dense-lt eval`: evaluate run folders, score predictions files, compare runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dense_lt.cli import compare, scoring
from dense_lt.utils.errors import ConfigError

HELP = "evaluate runs (RUN ...), score predictions (score ...), compare runs (compare ...)"

RUNS = "RUN ..."
"""The action without a name: it is put before everything that does not begin with another one."""

ACTIONS = ("score", "compare")


def configure(parser: argparse.ArgumentParser) -> None:
    """Everything but `eval score ...` and `eval compare ...` is `eval RUN ...`."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="RUN ... | score | compare"
    )
    runs = actions.add_parser(
        RUNS, prog=parser.prog, help="predict with trained detectors and score (the default)"
    )
    _configure_runs(runs)
    runs.set_defaults(run_action=_evaluate_runs)
    score = actions.add_parser("score", help="score a predictions file; needs no model, no torch")
    scoring.configure(score)
    score.set_defaults(run_action=scoring.run)
    comparison = actions.add_parser("compare", help=compare.HELP)
    compare.configure(comparison)
    comparison.set_defaults(run_action=compare.run)

    parse = parser.parse_known_args

    def parse_with_default(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        return parse(_with_action(args or []), namespace)

    parser.parse_known_args = parse_with_default  # type: ignore[assignment]


def _with_action(arguments: Sequence[str]) -> list[str]:
    asks_for_help = bool(arguments) and arguments[0] in ("-h", "--help")
    named = bool(arguments) and arguments[0] in ACTIONS
    return [*([] if named or asks_for_help or not arguments else [RUNS]), *arguments]


def _configure_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN | KEY=VALUE",
        help="run folders, such as runs/NAME, and settings other than the runs' own, such as "
        "device=cpu or evaluation.batch_size=4",
    )
    parser.set_defaults(overrides=[])
    parser.add_argument("--checkpoint", type=Path, help="instead of the latest of the run")
    parser.add_argument("--out", type=Path, help="instead of RUN/evaluation; for a single run")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what an interrupted evaluation of the same weights has predicted",
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    return arguments.run_action(arguments)


def _evaluate_runs(arguments: argparse.Namespace) -> int:
    from dense_lt.cli.evaluation_run import evaluate_run
    from dense_lt.utils import distributed

    folders = [Path(text) for text in arguments.runs if "=" not in text]
    overrides = [text for text in arguments.runs if "=" in text] + arguments.overrides
    if not folders:
        raise ConfigError(f"eval: settings ({' '.join(overrides)}) but no RUN; give its folder")
    if len(folders) > 1 and (arguments.out or arguments.checkpoint):
        raise ConfigError("--out and --checkpoint are for a single RUN; evaluate one at a time")
    results, paths = [], []
    for folder in folders:
        out = arguments.out or folder / "evaluation"
        results += evaluate_run(
            folder,
            out,
            overrides,
            checkpoint=arguments.checkpoint,
            resume=arguments.resume,
        )
        paths.append(out / "results.json")
    if distributed.is_main():
        scoring.report(results, paths)
    return 0
