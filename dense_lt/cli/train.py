"""`dense-lt train CONFIG [section.key=value ...]`: one training run from beginning to end."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

HELP = "train a detector, evaluate it, and write everything into its run folder"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings that replace the file's"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint of the run folder"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the run in the run folder, start again"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show configuration, data, model and schedule, try one batch (with --resume: "
        "from the checkpoint on), write nothing",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 at the end, 128 + the number of the signal that stopped it (130, 143)."""
    from dense_lt.cli.training_run import dry_run, train
    from dense_lt.config.load import load_config
    from dense_lt.utils.devices import choose_device
    from dense_lt.utils.distributed import process_group, restarts
    from dense_lt.utils.logs import set_up_logs

    set_up_logs(quiet=int(os.environ.get("RANK", "0")) > 0)
    again = restarts() > 0  # what torchrun starts again goes on, and deletes nothing
    config = load_config(arguments.config, arguments.overrides)
    device = choose_device(config.device)
    with process_group(device):
        if arguments.dry_run:
            return dry_run(config, device, resume=arguments.resume)
        return train(
            config,
            device,
            resume=arguments.resume or again,
            overwrite=arguments.overwrite and not again,
        )
