"""`dense-lt eval`: evaluate run folders, score predictions files, compare runs."""

from __future__ import annotations

import argparse
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dense_lt.cli import compare, scoring
from dense_lt.utils.errors import ConfigError, DataError

HELP = "evaluate runs (RUN ...), score predictions (score ...), compare runs (compare ...)"

RUNS = "RUN ..."
"""The action without a name: it is put before everything that does not begin with another one."""

ACTIONS = ("score", "compare")

SAME_NUMBERS = (
    *("device", "threads", "output", "data.workers", "data.prefetch_batches"),
    *("data.cache_images_mb", "data.cache_annotations", "evaluation.resamples"),
)
"""Settings that change how a run is evaluated, but not what comes out. The batch size is none of
them: images are padded to the largest of their batch, and group normalisation sees the padding."""

LONGEST_NAME = 100
"""Characters of a folder's name that say what is different."""


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
    parser.add_argument(
        "--out",
        type=Path,
        help="instead of RUN/evaluation (RUN/evaluation_... with other settings); for a single run",
    )
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

    folders, overrides = _folders_and_settings(arguments)
    results, paths, broken = [], [], []
    for folder in folders:
        out = arguments.out or folder / _folder_for(overrides, arguments.checkpoint)
        try:
            results += evaluate_run(
                folder,
                out,
                overrides,
                checkpoint=arguments.checkpoint,
                resume=arguments.resume,
            )
        except (ConfigError, DataError) as error:
            if len(folders) == 1:
                raise
            broken.append(str(error))
            continue
        paths.append(out / "results.json")
    if results and distributed.is_main():
        scoring.report(results, paths)
    if broken:
        lines = "\n".join(f"  {message}" for message in broken)
        raise DataError(f"{len(broken)} of {len(folders)} runs were not evaluated:\n{lines}")
    return 0


def _folders_and_settings(arguments: argparse.Namespace) -> tuple[list[Path], list[str]]:
    folders = [Path(text) for text in arguments.runs if "=" not in text]
    overrides = [text for text in arguments.runs if "=" in text] + arguments.overrides
    if not folders:
        raise ConfigError(f"eval: settings ({' '.join(overrides)}) but no RUN; give its folder")
    if len(folders) > 1 and (arguments.out or arguments.checkpoint):
        raise ConfigError("--out and --checkpoint are for a single RUN; evaluate one at a time")
    if arguments.out:
        scoring.check_out(arguments.out)
    return folders, overrides


def _folder_for(overrides: Sequence[str], checkpoint: Path | None) -> str:
    """Where results go in the folder of a run.

    Numbers of other settings or of another checkpoint are not the run's own, and do not replace
    them.
    """
    others = [text for text in overrides if text.partition("=")[0] not in SAME_NUMBERS]
    others += [checkpoint.stem] if checkpoint else []
    name = re.sub(r"[^\w.,=+-]+", "-", "_".join(sorted(others)))
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{zlib.crc32(name.encode()):08x}"
    return f"evaluation_{name}" if name else "evaluation"
