"""`dense-lt demo`: draw data, train one-stage and two-stage detectors, compare on one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from dense_lt.cli.sweep import configure_repeats, sweep
from dense_lt.utils.errors import ConfigError

HELP = "draw the data set, train the demo's detectors on it, and compare them"

VARIANTS = (
    "focal_prior_0.01",
    "equalized_focal",
    "two_stage_sigmoid_objectness",
    "two_stage_eql_v2",
)
"""Configurations below `configs/drawn`; the first is the reference of the comparison."""

QUICK_EPOCHS = 1.7


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--out", type=Path, default=None, help="folder of the runs and the page")
    parser.add_argument("--quick", action="store_true", help="a third of the training")
    configure_repeats(parser)
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), help="names in configs/drawn"
    )
    parser.add_argument(
        "--configs", type=Path, default=Path("configs/drawn"), help="folder of the configurations"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings of every run"
    )


def run(arguments: argparse.Namespace) -> int:
    """Draw, train, compare; what is finished already is kept."""
    configs = [arguments.configs / f"{variant}.yaml" for variant in arguments.variants]
    for config in configs:
        if not config.is_file():
            raise ConfigError(
                f"{config}: there is no such file; run the demo in the folder of the repository, "
                "or name its configs/drawn with --configs"
            )
    quick = [f"train.epochs={QUICK_EPOCHS}"] if arguments.quick else []
    return sweep(
        configs,
        arguments.out or Path("runs/demo_quick" if arguments.quick else "runs/demo"),
        seeds=arguments.seeds or [0],
        data_seeds=arguments.data_seeds,
        overrides=[*quick, *arguments.overrides],
        at_once=arguments.jobs,
    )
