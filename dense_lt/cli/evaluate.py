"""`dense-lt eval`: evaluate run folders, score predictions files, compare runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dense_lt.cli import compare
from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.data.categories import CategoryTable
    from dense_lt.evaluation.results import EvaluationResult
    from dense_lt.evaluation.rules import IouType
    from dense_lt.evaluation.score import ScoreSettings

HELP = "evaluate runs (RUN ...), score predictions (score ...), compare runs (compare ...)"

ACTIONS = ("runs", "score", "compare")


def configure(parser: argparse.ArgumentParser) -> None:
    """`eval RUN ...` is short for `eval runs RUN ...`."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="RUN ... | score | compare"
    )
    runs = actions.add_parser("runs", help="predict with trained detectors and score (the default)")
    _configure_runs(runs)
    runs.set_defaults(run_action=_evaluate_runs)
    score = actions.add_parser("score", help="score a predictions file; needs no model, no torch")
    _configure_score(score)
    score.set_defaults(run_action=_score_file)
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
    return [*([] if named or asks_for_help or not arguments else ["runs"]), *arguments]


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


def _configure_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gt", type=Path, required=True, help="LVIS or COCO annotation file")
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="JSON lists of detections; differences to the first are shown with intervals",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json and CSV")
    parser.add_argument("--iou-type", nargs="+", choices=("bbox", "segm"), default=["bbox"])
    parser.add_argument(
        "--max-dets",
        nargs="+",
        type=_positive,
        default=[],
        metavar="N",
        help="caps of detections, the first for the headline; default: the protocol's",
    )
    parser.add_argument(
        "--protocol",
        nargs="+",
        choices=("lvis", "fixed", "pool", "coco"),
        default=["lvis"],
        help="lvis (the default): 300 detections per image; fixed: 10,000 per category instead; "
        "pool: the same, ranked over all categories; coco: 100, 10 and 1 per image and category",
    )
    parser.add_argument(
        "--mask-area",
        choices=("mask", "box"),
        default="mask",
        help="size of a detected mask: its own area, or its box's as in the lvis package",
    )
    parser.add_argument(
        "--train-annotations", type=Path, help="training annotations: frequency groups and counts"
    )
    parser.add_argument("--categories", type=Path, help="categories.json of a run: the same")
    parser.add_argument(
        "--backend",
        choices=("ours", "lvis", "pycocotools"),
        default="ours",
        help="which code computes; the numbers are the same",
    )
    parser.add_argument(
        "--resamples",
        type=_count,
        default=1000,
        metavar="N",
        help="draws of the images for intervals; 0 for none (default: 1000)",
    )
    parser.add_argument("--name", default="", help="name over the numbers; default: the file's")


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    return arguments.run_action(arguments)


def _score_file(arguments: argparse.Namespace) -> int:
    from dense_lt.evaluation.results import save_results
    from dense_lt.evaluation.score_files import score_files

    if arguments.train_annotations and arguments.categories:
        raise ConfigError("--train-annotations and --categories say the same; give one of them")
    training = _training_categories(arguments)
    results, paths = [], []
    for name, path in _names(arguments).items():
        own = [
            score_files(
                arguments.gt,
                path,
                _settings(arguments, protocol, iou_type),
                training=training,
                backend=arguments.backend,
                run=name,
            )
            for protocol in dict.fromkeys(arguments.protocol)
            for iou_type in dict.fromkeys(arguments.iou_type)
        ]
        single = len(arguments.predictions) == 1
        paths += save_results(own, arguments.out if single else arguments.out / name)
        results += own
    _report(results, paths)
    return 0


def _names(arguments: argparse.Namespace) -> dict[str, Path]:
    """What each predictions file is called: its stem, unless --name says otherwise."""
    paths: list[Path] = arguments.predictions
    named = {path.stem: path for path in paths}
    if len(named) < len(paths):
        raise ConfigError("--predictions: two files have the same name; rename one")
    if arguments.name and len(paths) > 1:
        raise ConfigError("--name is for a single predictions file")
    return {arguments.name: paths[0]} if arguments.name else named


def _settings(arguments: argparse.Namespace, protocol: str, iou_type: IouType) -> ScoreSettings:
    from dense_lt.evaluation.score import ScoreSettings

    return ScoreSettings(
        protocol=protocol,
        iou_type=iou_type,
        caps=tuple(arguments.max_dets),
        mask_area=arguments.mask_area,
        resamples=arguments.resamples,
    )


def _training_categories(arguments: argparse.Namespace) -> CategoryTable | None:
    if arguments.categories:
        from dense_lt.data.categories import CategoryTable

        return CategoryTable.load(arguments.categories)
    if arguments.train_annotations:
        from dense_lt.data.lvis import read_annotations

        return read_annotations(arguments.train_annotations, masks=False)[1]
    return None


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
        _report(results, paths)
    return 0


def _report(results: Sequence[EvaluationResult], paths: Sequence[Path]) -> None:
    from dense_lt.evaluation.tables import format_results

    written = "\n".join(map(str, paths))
    sys.stdout.write(f"{format_results(results)}\n{written}\n")
