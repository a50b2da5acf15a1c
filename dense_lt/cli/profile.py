"""`dense-lt profile CONFIG`: where do the time and the memory of a training step go?"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train a few steps and print where their time and memory go; writes no run"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, help="YAML file of a run")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="settings that replace the file's"
    )
    parser.add_argument("--steps", type=int, default=5, help="steps to measure (default: 5)")
    parser.add_argument(
        "--trace",
        type=Path,
        help="also write a trace of one step, to be opened in chrome://tracing or Perfetto",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from dense_lt.cli.training_run import prepare_steps
    from dense_lt.config.load import load_config
    from dense_lt.engine.profiling import check_trace, profile_steps, write_trace
    from dense_lt.utils.devices import choose_device
    from dense_lt.utils.errors import ConfigError
    from dense_lt.utils.logs import set_up_logs

    if arguments.steps < 1:
        raise ConfigError(f"--steps: {arguments.steps} steps cannot be measured; give 1 or more")
    if arguments.trace is not None:
        check_trace(arguments.trace)
    set_up_logs()
    config = load_config(arguments.config, arguments.overrides)
    step, batches = prepare_steps(config, choose_device(config.device))
    profile = profile_steps(step, batches, steps=arguments.steps)
    lines = [f"{name:<32}{ms:10.1f} ms {share:7.1%}" for name, ms, share in profile.rows()]
    total = sum(ms for _, ms, _ in profile.rows())
    where = "GPU" if step.device.type == "cuda" else "whole process"
    _say("\n".join([*lines, f"{'a step':<32}{total:10.1f} ms"]))
    _say(
        f"{config.train.batch_size} images a step, {1000 * config.train.batch_size / total:.1f} a "
        f"second; most memory in use: {profile.peak_bytes / 2**20:.0f} MiB ({where})"
    )
    if arguments.trace is not None:
        write_trace(step, batches, arguments.trace)
        _say(f"wrote {arguments.trace}")
    return 0


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the output of the command
