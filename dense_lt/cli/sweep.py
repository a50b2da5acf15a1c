"""`dense-lt sweep CONFIG ...`: several configurations with several seeds, and their comparison."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dense_lt.cli.sweep_checks import check, draw_data, of_open_images, planned, stored_settings
from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.cli.jobs import Failure, TrainingJob

_OF_THE_SWEEP = {
    "name": "`name` in a list, or a file of another name",
    "output": "--out",
    "seed": "--seeds",
    "data.dataset.seed": "--data-seeds",
}
"""Setting -> what to give instead."""

_TO_SCORE = (
    "runs of Open Images: the page compares by the rules of LVIS and COCO; `dense-lt eval score "
    "--protocol openimages` compares the predictions.csv of\n  {folders}\n"
)

HELP = "train configurations with several seeds, go on where it was interrupted, compare"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="CONFIG | LIST | section.key=value",
        help="configurations, or one list of runs (`runs:` in a YAML file; docs/reproduce.md)",
    )
    parser.set_defaults(overrides=[])
    parser.add_argument(
        "--out", type=Path, help="folder of the runs and the page; a list has one of its own"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the settings, say what would be trained, and train nothing",
    )
    configure_repeats(parser)


def configure_repeats(parser: argparse.ArgumentParser) -> None:
    """Declare how often each configuration is trained, and how many runs go on at once."""
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="training seeds (default: those of the list, or 0)"
    )
    parser.add_argument(
        "--data-seeds", type=int, nargs="+", help="seeds of the drawn data set (default: its own)"
    )
    parser.add_argument(
        "--jobs", type=int, default=None, help="runs at once, one thread each (default: CPU cores)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train what is not finished yet, then compare; the worst status of a run that failed."""
    from dense_lt.config.sweeps import is_sweep

    configs = [Path(text) for text in arguments.configs if "=" not in text]
    overrides = [text for text in arguments.configs if "=" in text] + arguments.overrides
    if not configs:
        raise ConfigError(f"sweep: settings ({' '.join(overrides)}) but no CONFIG; name one")
    for path in configs:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such configuration, nor a list of runs")
    lists = [path for path in configs if is_sweep(path)]
    if lists and len(configs) > 1:
        raise ConfigError(f"{lists[0]}: this is a list of runs; give it alone")
    if lists:
        return _sweep_list(lists[0], arguments, overrides)
    if arguments.out is None:
        raise ConfigError("sweep: --out is missing; name a folder for the runs and the page")
    return sweep(
        configs,
        arguments.out,
        seeds=arguments.seeds or [0],
        data_seeds=arguments.data_seeds,
        overrides=overrides,
        at_once=arguments.jobs,
        dry_run=arguments.dry_run,
    )


def _sweep_list(path: Path, arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Train the runs of a list; what the command says goes before what the list says."""
    from dense_lt.config.sweeps import load_sweep

    plans = load_sweep(path)
    out = arguments.out or Path(plans.out)
    seeds = arguments.seeds or plans.seeds
    data_seeds = arguments.data_seeds or plans.data_seeds
    jobs = [
        job
        for own in plans.runs
        for job in plan(
            [path.parent / own.config],
            out,
            seeds=seeds,
            data_seeds=data_seeds,
            overrides=(*plans.settings, *own.settings, *overrides),
            name=own.name,
            init_from=own.init_from,
        )
    ]
    page = out / path.stem
    if any(job.folder == page for job in jobs):
        raise ConfigError(f"{path}: a run is called {path.stem}, as the list is; rename one")
    return _train_and_compare(jobs, page, at_once=arguments.jobs, dry_run=arguments.dry_run)


def sweep(
    configs: Sequence[Path],
    out: Path,
    *,
    seeds: Sequence[int],
    data_seeds: Sequence[int] | None,
    overrides: Sequence[str],
    at_once: int | None,
    dry_run: bool = False,
) -> int:
    """Train every configuration with every seed into folders below `out`; compare them there.

    A run that is finished is kept, one that was interrupted goes on; one that fails is told at the
    end, and left out of the comparison. The first configuration is the reference. With `dry_run`
    the runs are checked and named, and nothing is trained, drawn or written.

    Returns:
        0, or the largest exit status of a run that failed.

    Raises:
        ConfigError: a configuration is missing, or two have the same name.
    """
    jobs = plan(configs, out, seeds=seeds, data_seeds=data_seeds, overrides=overrides)
    return _train_and_compare(jobs, out / "comparison", at_once=at_once, dry_run=dry_run)


def _train_and_compare(
    jobs: Sequence[TrainingJob], page: Path, *, at_once: int | None, dry_run: bool
) -> int:
    from dense_lt.cli import compare
    from dense_lt.cli.jobs import run_jobs

    configs = check(jobs, at_once)
    if dry_run:
        sys.stdout.write(planned(jobs))
        return 0
    draw_data(configs)
    try:
        failures = run_jobs(jobs, at_once=at_once or len(os.sched_getaffinity(0)))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on where it was\n")
        raise
    failed = {failure.folder for failure in failures}
    apart = [job.folder for job, own in zip(jobs, configs, strict=True) if of_open_images(own)]
    shown = [str(job.folder) for job in jobs if job.folder not in {*failed, *apart}]
    status = 0
    if shown:
        parser = argparse.ArgumentParser()
        compare.configure(parser)
        status = compare.run(parser.parse_args([*shown, "--out", str(page)]))
    if apart:
        sys.stdout.write(_TO_SCORE.format(folders="\n  ".join(map(str, apart))))
    if failures:
        sys.stderr.write(_told(failures, of=len(jobs), reference=shown[0] if shown else None))
    return max(status, *(failure.status for failure in failures), 0)


def _told(failures: Sequence[Failure], *, of: int, reference: str | None) -> str:
    lines = [f"error: {len(failures)} of {of} runs failed; the same command tries them again:"]
    lines += map(str, failures)
    if reference is not None:
        lines.append(f"The comparison is of the other {of - len(failures)}, against {reference}.")
    return "\n".join(lines) + "\n"


def plan(
    configs: Sequence[Path],
    out: Path,
    *,
    seeds: Sequence[int],
    data_seeds: Sequence[int] | None,
    overrides: Sequence[str],
    name: str | None = None,
    init_from: str | None = None,
) -> list[TrainingJob]:
    """The runs of a sweep, named after their configuration and, where there are several, seeds.

    With `name`, of a single configuration, it is called that; with `init_from`, it goes on from
    the weights of the run of that name and the same seeds.

    Raises:
        ConfigError: see `sweep`.
    """
    from dense_lt.cli.jobs import TrainingJob

    for override in overrides:
        if instead := _OF_THE_SWEEP.get(override.partition("=")[0].strip()):
            raise ConfigError(f"{override}: a sweep sets that for every run; give {instead}")
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
                data = f"_data{data_seed}" if len(data_seeds or ()) > 1 else ""
                place = partial(_place, out, seed=seed, alone=len(seeds) == 1)
                folder = place((name or config.stem) + data)
                own = [f"name={folder.name}", f"output={out}", f"seed={seed}"]
                own += [] if data_seed is None else [f"data.dataset.seed={data_seed}"]
                after = None if init_from is None else place(init_from + data)
                own += [] if after is None else [f"model.init_from={after}"]
                jobs.append(TrainingJob(config, (*own, *overrides), folder, after))
    return jobs


def _place(out: Path, name: str, *, seed: int, alone: bool) -> Path:
    """Folder of a run: its seed is in the name unless it is `alone`.

    Where one seed was trained before the others, or another one before, it is the folder that this
    seed has, or one that is free.
    """
    plain, numbered = out / name, out / f"{name}_seed{seed}"
    stored = stored_settings(plain)
    trained = None if stored is None else stored.get("seed")
    if numbered.exists() or trained not in ({None, seed} if alone else {seed}):
        return numbered
    return plain
