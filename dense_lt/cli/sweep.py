"""`dense-lt sweep CONFIG ...`: several configurations with several seeds, and their comparison."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.cli.jobs import TrainingJob

HELP = "train configurations with several seeds, go on where it was interrupted, compare"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("configs", nargs="+", metavar="CONFIG | section.key=value")
    parser.set_defaults(overrides=[])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the page")
    configure_repeats(parser)


def configure_repeats(parser: argparse.ArgumentParser) -> None:
    """Declare how often each configuration is trained, and how many runs go on at once."""
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="training seeds")
    parser.add_argument(
        "--data-seeds", type=int, nargs="+", help="seeds of the drawn data set (default: its own)"
    )
    parser.add_argument(
        "--jobs", type=int, default=None, help="runs at once, one thread each (default: CPU cores)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train what is not finished yet, then compare."""
    configs = [Path(text) for text in arguments.configs if "=" not in text]
    overrides = [text for text in arguments.configs if "=" in text] + arguments.overrides
    if not configs:
        raise ConfigError(f"sweep: settings ({' '.join(overrides)}) but no CONFIG; name one")
    return sweep(
        configs,
        arguments.out,
        seeds=arguments.seeds,
        data_seeds=arguments.data_seeds,
        overrides=overrides,
        at_once=arguments.jobs,
    )


def sweep(
    configs: Sequence[Path],
    out: Path,
    *,
    seeds: Sequence[int],
    data_seeds: Sequence[int] | None,
    overrides: Sequence[str],
    at_once: int | None,
) -> int:
    """Train every configuration with every seed into folders below `out`; compare them there.

    A run that is finished is kept, one that was interrupted goes on. The first configuration is
    the reference of the comparison.

    Raises:
        ConfigError: a configuration is missing, or two have the same name.
        DataError: a run failed.
    """
    from dense_lt.cli import compare
    from dense_lt.cli.jobs import run_jobs
    from dense_lt.config.load import load_config
    from dense_lt.data.build import annotation_files

    jobs = plan(configs, out, seeds=seeds, data_seeds=data_seeds, overrides=overrides)
    for job in jobs:  # bad settings are found now, and shared data drawn once
        annotation_files(load_config(job.config, job.overrides).data)
    run_jobs(jobs, at_once=at_once or len(os.sched_getaffinity(0)))
    parser = argparse.ArgumentParser()
    compare.configure(parser)
    folders = [str(job.folder) for job in jobs]
    return compare.run(parser.parse_args([*folders, "--out", str(out / "comparison")]))


def plan(
    configs: Sequence[Path],
    out: Path,
    *,
    seeds: Sequence[int],
    data_seeds: Sequence[int] | None,
    overrides: Sequence[str],
) -> list[TrainingJob]:
    """The runs of a sweep, named after their configuration and, where there are several, seeds.

    Raises:
        ConfigError: see `sweep`.
    """
    from dense_lt.cli.jobs import TrainingJob

    names = [config.stem for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"sweep: several configurations are called {twice[0]}; rename one")
    jobs = []
    for config in configs:
        if not config.is_file():
            raise ConfigError(f"{config}: there is no such configuration file")
        for data_seed in data_seeds or [None]:
            for seed in seeds:
                parts = [config.stem]
                if len(data_seeds or ()) > 1:
                    parts.append(f"data{data_seed}")
                if len(seeds) > 1:
                    parts.append(f"seed{seed}")
                name = "_".join(parts)
                own = [f"name={name}", f"output={out}", f"seed={seed}"]
                own += [] if data_seed is None else [f"data.dataset.seed={data_seed}"]
                jobs.append(TrainingJob(config, (*own, *overrides), out / name))
    return jobs
