"""`dense-lt sweep CONFIG ...`: several configurations with several seeds, and their comparison."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
    return _train_and_compare(jobs, page, at_once=arguments.jobs)


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

    A run that is finished is kept, one that was interrupted goes on; one that fails is told at the
    end, and left out of the comparison. The first configuration is the reference.

    Returns:
        0, or the largest exit status of a run that failed.

    Raises:
        ConfigError: a configuration is missing, or two have the same name.
    """
    jobs = plan(configs, out, seeds=seeds, data_seeds=data_seeds, overrides=overrides)
    return _train_and_compare(jobs, out / "comparison", at_once=at_once)


def _train_and_compare(jobs: Sequence[TrainingJob], page: Path, *, at_once: int | None) -> int:
    from dense_lt.cli import compare
    from dense_lt.cli.jobs import run_jobs

    _check(jobs, at_once)
    try:
        failures = run_jobs(jobs, at_once=at_once or len(os.sched_getaffinity(0)))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on where it was\n")
        raise
    failed = {failure.folder for failure in failures}
    shown = [str(job.folder) for job in jobs if job.folder not in failed]
    status = 0
    if shown:
        parser = argparse.ArgumentParser()
        compare.configure(parser)
        status = compare.run(parser.parse_args([*shown, "--out", str(page)]))
    if failures:
        sys.stderr.write(_told(failures, of=len(jobs), reference=shown[0] if shown else None))
    return max(status, *(failure.status for failure in failures), 0)


def _told(failures: Sequence[Failure], *, of: int, reference: str | None) -> str:
    lines = [f"error: {len(failures)} of {of} runs failed; the same command tries them again:"]
    lines += map(str, failures)
    if reference is not None:
        lines.append(f"The comparison is of the other {of - len(failures)}, against {reference}.")
    return "\n".join(lines) + "\n"


def _check(jobs: Sequence[TrainingJob], at_once: int | None) -> None:
    """Find what is wrong before anything is trained, and draw data that runs share once."""
    from dense_lt.config.load import load_config
    from dense_lt.data.build import annotation_files

    if at_once is not None and at_once < 1:
        raise ConfigError(f"--jobs {at_once}: at least one run has to go on at once")
    folders = [job.folder for job in jobs]
    if twice := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        raise ConfigError(f"{twice[0]}: two runs would lie there; give each seed, and name, once")
    for job in jobs:
        try:
            data = load_config(job.config, job.overrides).data
        except ConfigError as error:
            raise ConfigError(_blamed_on(job, error)) from error
        _check_kept(job)  # lists share folders
        annotation_files(data)


def _blamed_on(job: TrainingJob, error: ConfigError) -> str:
    """What is wrong with the settings of a run, and of which."""
    if "data.dataset.seed: unknown key" in str(error):
        return (
            f"{job.config}: data seeds are of the drawn data set, and this is another; leave "
            "--data-seeds, or `data_seeds` of the list, out"
        )
    return f"{error}\n  in the run {job.folder.name}"


def _check_kept(job: TrainingJob) -> None:
    """Make sure that a run that is there already is the one that is wanted.

    Raises:
        ConfigError: it was made with other settings.
    """
    import yaml

    from dense_lt.config.load import load_config, with_defaults
    from dense_lt.report.settings import different_settings

    path = job.folder / "config.yaml"
    if not path.is_file():
        return
    stored = with_defaults(yaml.safe_load(path.read_text(encoding="utf-8")))
    wanted = load_config(job.config, job.overrides).model_dump(mode="json")
    if keys := different_settings(stored, wanted):
        raise ConfigError(
            f"{job.folder}: a run of that name was made with other settings ({', '.join(keys)}). "
            "Remove it, or give another --out or name"
        )
    ground = job.after
    if ground is not None and not (_started(ground) < _started(job.folder)):
        raise ConfigError(
            f"{job.folder}: it went on from {ground}, which has been removed or trained anew "
            "since. Remove both, and the list trains them again"
        )


def _started(folder: Path) -> str:
    """When a run was started, as text that sorts; of one that is not there, after all others."""
    import json

    try:
        return json.loads((folder / "environment.json").read_text(encoding="utf-8"))["started"]
    except (OSError, ValueError, LookupError, TypeError):
        return "~"


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
    if numbered.exists() or _seed_of(plain) not in ({None, seed} if alone else {seed}):
        return numbered
    return plain


def _seed_of(folder: Path) -> int | None:
    """The seed of the run in `folder`; None if there is none."""
    import yaml

    path = folder / "config.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))["seed"] if path.is_file() else None
