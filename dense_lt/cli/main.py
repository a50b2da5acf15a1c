"""`dense-lt COMMAND ...`: finds the command's module, and turns errors into one message."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from dense_lt.utils.errors import ConfigError, DataError
from dense_lt.utils.installation import explain_broken_installation

COMMANDS = {
    "train": "train",
    "eval": "evaluate",
    "compare": "compare",
    "report": "report",
    "data": "data",
    "predict": "predict",
    "profile": "profile",
    "backbones": "backbones",
    "sweep": "sweep",
    "import-weights": "import_weights",
    "demo": "demo",
}
"""Command -> module of `dense_lt.cli`, which gives HELP, configure(parser) and run(arguments)."""

USER_ERROR = 2
TRAINING_FAILED = 3


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

    0 success, 2 the user's mistake (one message on stderr), 3 training became meaningless.
    """
    arguments = parse_arguments(argv)
    try:
        return arguments.run(arguments)
    except (ConfigError, DataError) as error:
        return _fail(str(error), USER_ERROR)
    except FloatingPointError as error:
        return _fail(str(error), TRAINING_FAILED)
    except BrokenPipeError:  # the reader of our output has seen enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", USER_ERROR)
    except (ImportError, RuntimeError, ValueError) as error:
        explanation = explain_broken_installation(error)
        if explanation is None:
            raise
        return _fail(explanation, USER_ERROR)


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


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - the command's output
    return status


if __name__ == "__main__":
    sys.exit(main())
