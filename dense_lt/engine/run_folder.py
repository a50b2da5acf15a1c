"""Where does a run write what, and may it start there?"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dense_lt.utils.errors import ConfigError, DataError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, all below `path`."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; runs again."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Command, commit, versions, device."""
        return self.path / "environment.json"

    @property
    def categories(self) -> Path:
        """The class table."""
        return self.path / "categories.json"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: training and evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def statistics(self) -> Path:
        """Gradient sums per class at every evaluation."""
        return self.path / "statistics.json"

    @property
    def log(self) -> Path:
        """What the console showed."""
        return self.path / "log.txt"

    @property
    def tensorboard(self) -> Path:
        """Curves for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def trackers(self) -> Path:
        """What Weights & Biases and MLflow call this run."""
        return self.path / "trackers.json"

    @property
    def wandb(self) -> Path:
        """What Weights & Biases writes, until it is synchronised."""
        return self.path / "wandb"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, and `latest`, which names one."""
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """Predictions and scores of the final weights."""
        return self.path / "evaluation"

    @property
    def failures(self) -> Path:
        """Batches whose loss was not finite."""
        return self.path / "failures"

    def everything(self) -> tuple[Path, ...]:
        """All files and folders that a run may write."""
        files = (self.config, self.environment, self.categories, self.metrics, self.statistics)
        folders = (self.tensorboard, self.wandb, self.checkpoints, self.evaluation, self.failures)
        return (*files, self.log, self.trackers, *folders)


def check_free(run: RunFolder, *, resume: bool, overwrite: bool) -> None:
    """Refuse to write over a run by accident.

    Raises:
        ConfigError: there is a run, and neither `resume` nor `overwrite` is set, or both are.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other; give one of them")
    found = [path.name for path in run.everything() if path.exists()]
    if found and not (resume or overwrite):
        raise ConfigError(
            f"{run.path}: there is a run already ({', '.join(found)}). Add --resume to continue "
            "it, --overwrite to delete it and start again, or give another name=..."
        )


def clear(run: RunFolder) -> None:
    """Delete what a run has written, and nothing else that may lie in the folder."""
    for path in run.everything():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def given_back(run: RunFolder) -> Iterator[None]:
    """If a run cannot begin, take back what it has written; `occupied` removes the folder."""
    try:
        yield
    except BaseException:
        clear(run)
        raise


@contextmanager
def occupied(run: RunFolder) -> Iterator[None]:
    """Keep other runs out of the folder; the system lets go of it even when a process is killed.

    A folder that is empty at the end is removed.

    Raises:
        ConfigError: another process is training into it.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    lock = run.path / ".lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{run.path}: another process is training into this folder; wait for it, stop it, "
                "or give another name=..."
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # it is not empty
                run.path.rmdir()


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, finds the old content or the new one whole."""
    draft = path.with_name(path.name + ".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_own_json(path: Path, *, held: str) -> Any:
    """The content of a file that this run wrote; {} where there is none.

    Args:
        path: in the folder of the run.
        held: what the file holds, for the message.

    Raises:
        DataError: it has been damaged since.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error)
    else:
        if isinstance(content, dict):
            return content
        reason = f"a {type(content).__name__} where an object belongs"
    raise DataError(
        f"{path}: damaged ({reason}); put the file back, or move it away: the run then goes on, "
        f"without {held}"
    )


def write_environment(run: RunFolder, facts: Mapping[str, object], *, step: int) -> None:
    """Note how the run was started; how it was resumed is added to a list, nothing is replaced."""
    stored: dict[str, object] = {}
    if step and (stored := read_own_json(run.environment, held="how it was started before")):
        resumed = stored.get("resumed", [])
        assert isinstance(resumed, list), f"{run.environment}: resumed is {resumed!r}"
        before = [stored, *resumed][-1].get("training_data")
        if before not in (None, facts.get("training_data")):
            _logger.warning(
                "--resume: the training images or their objects are not those that the run had "
                "before; it goes on with what is there now, and step %d is no longer that of an "
                "uninterrupted run",
                step + 1,
            )
        stored["resumed"] = [*resumed, {"step": step, **facts}]
    write_atomically(run.environment, json.dumps(stored or dict(facts), indent=1) + "\n")
