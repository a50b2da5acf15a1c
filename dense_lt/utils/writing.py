"""Files a user asked for: refused in time where they cannot be, and never left half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dense_lt.utils.errors import ConfigError


def require_writable(out: Path, folder: Path) -> None:
    """Say before anything is computed that `folder`, or what it is made in, takes no files.

    Args:
        out: as the user gave it, with --out.
        folder: absolute; it need not exist yet.

    Raises:
        ConfigError: a file is in the way, or the folder cannot be written.
    """
    there = next(own for own in (folder, *folder.parents) if own.exists())
    if not there.is_dir():
        raise ConfigError(f"--out {out}: {there} is a file, not a folder; choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {out}: the folder {there} cannot be written; choose another")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft to write, which takes the name `path` when all is well and else is deleted.

    Raises:
        OSError: as the writing did, and it names `path`.
    """
    draft = path.with_name(path.name + ".tmp")
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        error.filename = str(path)  # a write to an open file names none
        raise
    finally:
        draft.unlink(missing_ok=True)
