"""What is found out about the runs of a sweep before the first of them is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dense_lt.utils.errors import ConfigError

if TYPE_CHECKING:
    from dense_lt.cli.jobs import TrainingJob
    from dense_lt.config.experiment import ExperimentConfig


def check(jobs: Sequence[TrainingJob], at_once: int | None) -> list[ExperimentConfig]:
    """Find what is wrong with the settings of any run before the first is trained.

    Returns:
        The resolved settings of every run.

    Raises:
        ConfigError: what it is, and in which run.
    """
    from dense_lt.config.load import load_config

    if at_once is not None and at_once < 1:
        raise ConfigError(f"--jobs {at_once}: at least one run has to go on at once")
    folders = [job.folder for job in jobs]
    if twice := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        raise ConfigError(f"{twice[0]}: two runs would lie there; give each seed, and name, once")
    configs = []
    for job in jobs:
        try:
            configs.append(load_config(job.config, job.overrides))
        except ConfigError as error:
            raise ConfigError(_blamed_on(job, error)) from error
        _check_kept(job, configs[-1])  # lists share folders
    return configs


def draw_data(configs: Sequence[ExperimentConfig]) -> None:
    """Draw the data that runs share, once."""
    from dense_lt.data.build import annotation_files

    for config in configs:
        annotation_files(config.data)


def of_open_images(config: ExperimentConfig) -> bool:
    """Whether a run is scored by the rules of Open Images, which no page compares."""
    from dense_lt.config.openimages import OpenImagesConfig

    return isinstance(config.data.dataset, OpenImagesConfig)


def planned(jobs: Sequence[TrainingJob]) -> str:
    """What would happen to every run, a line each, and how many there are of a kind."""
    lines, counts = [], Counter[str]()
    for job in jobs:
        job.look()
        started = (job.folder / "config.yaml").is_file()
        what = "finished" if job.finished else "goes on" if started else "to train"
        counts[what] += 1
        reached = f", at step {job.step} of {job.total_steps}" if what == "goes on" else ""
        after = f", after {job.after.name}" if job.after is not None else ""
        lines.append(f"{what:<9}  {job.folder}{reached}{after}")
    total = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    lines.append(f"dry run: {len(jobs)} runs ({total}); nothing was trained or written")
    return "\n".join(lines) + "\n"


def _blamed_on(job: TrainingJob, error: ConfigError) -> str:
    """What is wrong with the settings of a run, and of which."""
    if "data.dataset.seed: unknown key" in str(error):
        return (
            f"{job.config}: data seeds are of the drawn data set, and this is another; leave "
            "--data-seeds, or `data_seeds` of the list, out"
        )
    return f"{error}\n  in the run {job.folder.name}"


def _check_kept(job: TrainingJob, config: ExperimentConfig) -> None:
    """Make sure that a run that is there already is the one that is wanted.

    Raises:
        ConfigError: it was made with other settings.
    """
    from dense_lt.config.load import with_defaults
    from dense_lt.report.settings import different_settings

    settings = stored_settings(job.folder)
    if settings is None:
        return
    if keys := different_settings(with_defaults(settings), config.model_dump(mode="json")):
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


def stored_settings(folder: Path) -> Mapping[str, Any] | None:
    """The settings of the run in `folder`; None if there is none.

    Raises:
        ConfigError: they cannot be read.
    """
    from dense_lt.config.yaml_files import read_mapping

    path = folder / "config.yaml"
    if not path.is_file():
        return None
    try:
        settings = read_mapping(path)
        if not settings:
            raise ConfigError(f"{path}: the file is empty")
    except ConfigError as error:
        raise ConfigError(
            f"{error}. It is of an earlier run; remove {folder}, and that is trained again"
        ) from error
    return settings
