"""The command in processes that start at once: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from helpers import processes  # says what is imported before

assert processes
_context = multiprocessing.get_context("forkserver")


class Ended(NamedTuple):
    """How a command ended: its status, negative for a signal, and what it said."""

    status: int
    text: str


def run_forked(
    arguments: list[str],
    sabotage: Callable[..., None] | None = None,
    *details: Any,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `dense-lt ARGUMENTS`; in its process `sabotage(*details)` is called before."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = _context.Process(
            target=_enter, args=(log, arguments, sabotage, details, dict(environment or {}))
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return Ended(process.exitcode, log.read_text())


def _enter(
    log: Path,
    arguments: list[str],
    sabotage: Callable[..., None] | None,
    details: tuple[Any, ...],
    environment: Mapping[str, str],
) -> None:
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    from dense_lt.cli.main import main

    if sabotage is not None:
        sabotage(*details)
    sys.exit(main(arguments))
