"""`dense-lt demo`: draw data, train with focal and Equalized Focal Loss, compare on one page."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dense_lt.utils.errors import ConfigError

HELP = "draw the data set, train the demo's detectors on it, and compare them"

VARIANTS = ("focal_prior_0.1", "focal_prior_0.01", "equalized_focal")
"""Configurations below `configs/drawn`; the first is the reference of the comparison."""

QUICK_EPOCHS = 1.7


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--out", type=Path, default=None, help="folder of the runs and the page")
    parser.add_argument("--quick", action="store_true", help="a third of the training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="training seeds")
    parser.add_argument("--data-seeds", type=int, nargs="+", default=[0], help="drawn data sets")
    parser.add_argument(
        "--jobs", type=int, default=None, help="runs at once, one thread each (default: CPU cores)"
    )
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
    from dense_lt.cli import compare
    from dense_lt.cli.jobs import run_jobs
    from dense_lt.config.load import load_config
    from dense_lt.data.build import annotation_files

    jobs = _jobs(arguments)
    for job in jobs:
        annotation_files(load_config(job.config, job.overrides).data)
    run_jobs(jobs, at_once=arguments.jobs or len(os.sched_getaffinity(0)))
    parser = argparse.ArgumentParser()
    compare.configure(parser)
    folders = [str(job.folder) for job in jobs]
    page = str(_output(arguments) / "comparison")
    return compare.run(parser.parse_args([*folders, "--out", page]))


def _output(arguments: argparse.Namespace) -> Path:
    return arguments.out or Path("runs/demo_quick" if arguments.quick else "runs/demo")


def _jobs(arguments: argparse.Namespace) -> list:
    from dense_lt.cli.jobs import TrainingJob

    output = _output(arguments)
    several = len(arguments.seeds) * len(arguments.data_seeds) > 1
    jobs = []
    for variant in arguments.variants:
        config = arguments.configs / f"{variant}.yaml"
        if not config.is_file():
            raise ConfigError(
                f"{config}: there is no such file; run the demo in the folder of the repository, "
                "or name its configs/drawn with --configs"
            )
        for data_seed in arguments.data_seeds:
            for seed in arguments.seeds:
                name = f"{variant}_data{data_seed}_seed{seed}" if several else variant
                overrides = [
                    f"name={name}",
                    f"output={output}",
                    f"seed={seed}",
                    f"data.dataset.seed={data_seed}",
                    *([f"train.epochs={QUICK_EPOCHS}"] if arguments.quick else []),
                    *arguments.overrides,
                ]
                jobs.append(TrainingJob(config, tuple(overrides), output / name))
    return jobs
