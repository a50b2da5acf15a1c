"""`dense-lt COMMAND ...`: finds the command's module, and turns errors into one message."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from dense_lt.utils.errors import ConfigError, DataError, MachineError, is_of_one_process
from dense_lt.utils.faults import is_connection_lost, is_disk_full, is_out_of_memory
from dense_lt.utils.installation import explain_broken_installation

COMMANDS = {
    "train": "train",
    "eval": "evaluate",
    "compare": "compare",
    "report": "report",
    "data": "data",
    "predict": "predict",
    "export": "export",
    "profile": "profile",
    "replay": "replay",
    "backbones": "backbones",
    "sweep": "sweep",
    "import-weights": "import_weights",
    "demo": "demo",
}
"""Command -> module of `dense_lt.cli`, which gives HELP, configure(parser) and run(arguments)."""

USER_ERROR = 2
TRAINING_FAILED = 3
MACHINE_FAILED = 4
INTERRUPTED = 130
STATUS = (
    ((ConfigError, DataError), USER_ERROR),
    (FloatingPointError, TRAINING_FAILED),
    (MachineError, MACHINE_FAILED),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="dense-lt", description="Long-tailed object detection: train, evaluate, compare."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(f"dense_lt.cli.{module_name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.configure(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 success, 2 the user's mistake (one message on stderr), 3 training became meaningless, 4 the
    machine gave out (memory, disk, a helper process), 130 Ctrl+C.
    """
    arguments = parse_arguments(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        explanation = explain(error, resumable=hasattr(arguments, "resume"))
        if explanation is None:
            raise
        message, status = explanation
        _say("\n".join([message, *getattr(error, "__notes__", [])]), error)
        return status


def explain(error: Exception, *, resumable: bool) -> tuple[str, int] | None:
    """What is said instead of a traceback, and the exit status; None for faults of the program."""
    for kinds, status in STATUS:
        if isinstance(error, kinds):
            return str(error), status
    if is_disk_full(error):
        again = "go on with --resume" if resumable else "repeat the command"
        return f"{error}: the disk is full; make room and {again}", MACHINE_FAILED
    if is_out_of_memory(error):
        first = (str(error) or "no more is known").splitlines()[0]
        return f"memory ran out ({first}); lower the batch size", MACHINE_FAILED
    if is_connection_lost(error):
        return "another process of this run has ended; what it said is the cause", MACHINE_FAILED
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", USER_ERROR
    explanation = explain_broken_installation(error)
    return (explanation, USER_ERROR) if explanation else None


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse, with overrides wherever they stand: argparse takes them in one place only."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    misplaced = [text for text in rest if not text.startswith("-") and "=" in text]
    if rest != misplaced or (rest and not hasattr(arguments, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if misplaced:
        arguments.overrides = [*arguments.overrides, *misplaced]
    return arguments


def _say(message: str, error: Exception) -> None:
    """Once, though every process of a run stops: what concerns all of them is said by the first."""
    if int(os.environ.get("RANK", "0")) == 0 or is_of_one_process(error):
        print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
