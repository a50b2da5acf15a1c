"""Where do messages go? One handler for the console, one for the run's file. No torch import."""

from __future__ import annotations

import logging
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

_OWN_HANDLER = "dense_lt"
_KEPT_FOR_FILE = 10_000
"""Records remembered until there is a file; the run's folder is made after the data were read."""


class _Formatter(logging.Formatter):
    """`12:34:56 message`; anything above INFO also says its level, so that it stands out."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        record.message = record.getMessage()
        text = f"{self.formatTime(record, '%H:%M:%S')} {level}{record.message}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up_logs(*, quiet: bool = False) -> None:
    """Send the log to stderr; calling it again replaces what the first call did.

    Args:
        quiet: show errors only; for every process but the main one.
    """
    root = logging.getLogger()
    for handler in [own for own in root.handlers if own.get_name() == _OWN_HANDLER]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.ERROR if quiet else logging.INFO)
    _add(logging.StreamHandler(sys.stderr))
    _add(MemoryHandler(_KEPT_FOR_FILE, flushLevel=logging.CRITICAL + 1))
    logging.captureWarnings(capture=True)


def log_to_file(path: Path) -> None:
    """Send the log to the end of `path` too, with what was said since `set_up_logs`."""
    file = _add(logging.FileHandler(path, encoding="utf-8"))
    root = logging.getLogger()
    for memory in [own for own in root.handlers if isinstance(own, MemoryHandler)]:
        root.removeHandler(memory)
        for record in memory.buffer:
            file.handle(record)


def _add(handler: logging.Handler) -> logging.Handler:
    handler.set_name(_OWN_HANDLER)
    handler.setFormatter(_Formatter())
    logging.getLogger().addHandler(handler)
    return handler


def duration(seconds: float) -> str:
    """`seconds` as `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
