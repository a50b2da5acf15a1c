"""Progress of work on large files."""

from __future__ import annotations

from typing import NoReturn

from tqdm import tqdm


def byte_bar(title: str, total: int) -> tqdm[NoReturn]:
    """Bytes done, speed and time left; on a terminal only, and only where it takes a second."""
    return tqdm(
        total=total,
        desc=title,
        unit="B",
        unit_scale=True,
        delay=1,
        leave=False,
        disable=None,
    )
