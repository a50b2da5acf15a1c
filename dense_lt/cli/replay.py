"""`dense-lt replay RUN/failures/step_N.pt`: where did a loss that is not finite come from?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dense_lt.engine.run_folder import RunFolder

HELP = "make a step with a loss that is not finite once more, and show where it went wrong"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("batch", type=Path, help="RUN/failures/step_N.pt, as training wrote it")
    parser.add_argument(
        "--run",
        type=Path,
        dest="run_folder",
        metavar="RUN",
        help="of the step; needed if the file does not lie in RUN/failures any more",
    )
    parser.add_argument("--checkpoint", type=Path, help="weights, instead of those of the step")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def run(arguments: argparse.Namespace) -> int:
    """Show it; 0 if the step fails as it did, 1 if it is finite now."""
    from dense_lt.config.load import load_config
    from dense_lt.data.categories import CategoryTable
    from dense_lt.engine.failures import read_failure
    from dense_lt.engine.replay import replay
    from dense_lt.inference.build import build_bare, run_config
    from dense_lt.utils.devices import choose_device
    from dense_lt.utils.seeding import make_deterministic, seed_everything

    step, batch = read_failure(arguments.batch)
    folder = _run_of(arguments)
    config = load_config(run_config(folder.path))
    device = choose_device(arguments.device)
    make_deterministic(device)
    seed_everything(config.seed)
    detector = build_bare(CategoryTable.load(folder.categories), config, device)
    where, weights = _weights(arguments, folder, step)
    detector.load_state_dict(weights)
    _say(f"step {step} with the weights of {where}")
    pieces = config.train.micro_batches
    found = replay(
        detector,
        batch.to(device),
        precision=config.train.precision,
        micro_batches=pieces if isinstance(pieces, int) else 1,
    )
    _say("\n".join(found.lines()))
    if found.is_finite:
        _say(
            "The step is finite now. What made it fail is not in this batch and these weights: "
            "random numbers (dropout), the batches of other processes, or the device."
        )
    return int(found.is_finite)


def _run_of(arguments: argparse.Namespace) -> RunFolder:
    """The run that the step belongs to.

    Raises:
        DataError: the batch lies elsewhere, and no run is given.
    """
    from dense_lt.engine.run_folder import RunFolder
    from dense_lt.utils.errors import DataError

    if arguments.run_folder is not None:
        return RunFolder(arguments.run_folder)
    folder = RunFolder(arguments.batch.resolve().parent.parent)
    if not folder.config.is_file():
        raise DataError(
            f"{arguments.batch}: this file does not lie in RUN/failures, and the step needs the "
            "model and classes of its run; give that with --run RUN"
        )
    return folder


def _weights(
    arguments: argparse.Namespace, folder: RunFolder, step: int
) -> tuple[Path, dict[str, Tensor]]:
    """The file and its tensors: as asked for, or of the step, or of the last checkpoint before it.

    Raises:
        DataError: there are none.
    """
    from safetensors.torch import load_file

    from dense_lt.engine.checkpoint import checkpoints_of, load_checkpoint
    from dense_lt.engine.failures import weights_of
    from dense_lt.utils.errors import DataError

    own = weights_of(arguments.batch, step)
    if arguments.checkpoint is None and own.is_file():
        return own, load_file(own)
    earlier = [path for path in checkpoints_of(folder.path) if path.stem < f"step_{step:08d}"]
    chosen = arguments.checkpoint or next(iter(earlier), None)
    if chosen is None:
        raise DataError(
            f"{own}: the weights of the failed step are not there, and {folder.checkpoints} has no "
            "checkpoint from before it; give one with --checkpoint"
        )
    stored = load_checkpoint(chosen)
    return chosen, stored.trained or stored.model


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the output of the command
