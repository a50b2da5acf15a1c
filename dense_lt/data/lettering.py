"""Class names in any script on a picture, as far as this machine has letters for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

logger = logging.getLogger(__name__)

SIZE = 11
"""Height of the letters, pixels."""

BOXES_FOR_LETTERS = ("lastresort", "notdef", "blank")
"""Parts of the names of fonts that have every letter and show none."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Lettering:
    r"""Writes texts in the font of this machine that has the most of their letters.

    Pillow's own font knows Latin letters, and is taken where these are enough. Letters that no
    single font has are written as escapes such as `\u81ea`: a name stays one that can be looked
    up, where question marks would make all names equal.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        wanted = frozenset("".join(texts))
        self._font, self._letters = _font_for(wanted)
        lacking = [letter for letter in sorted(wanted) if not self._has(letter)]
        if lacking:
            logger.warning(
                "no font on this machine has all letters of the class names (%s are missing): they "
                "are written as escapes; install one that has them, such as Noto Sans",
                ascii("".join(lacking[:5])),
            )

    def shown(self, text: str) -> str:
        """`text` with escapes for the letters that are missing."""
        return "".join(own if self._has(own) else ascii(own)[1:-1] for own in text)

    def write(
        self,
        pen: ImageDraw.ImageDraw,
        at: tuple[float, float],
        text: str,
        color: tuple[int, int, int],
    ) -> None:
        """Write `text` on black."""
        text = self.shown(text)
        pen.rectangle(pen.textbbox(at, text, font=self._font), fill=(0, 0, 0))
        pen.text(at, text, fill=color, font=self._font)

    def _has(self, letter: str) -> bool:
        return letter.isprintable() and (self._letters is None or ord(letter) in self._letters)


def _font_for(letters: frozenset[str]) -> tuple[Font, frozenset[int] | None]:
    """A font and what it has; None stands for all that is wanted."""
    wanted = {ord(letter) for letter in letters}
    if max(wanted, default=0) < 256:
        return ImageFont.load_default(), None
    path = max(_letters_of_fonts(), key=lambda own: len(wanted & _letters_of_fonts()[own]))
    return ImageFont.truetype(path, SIZE), _letters_of_fonts()[path]


@cache
def _letters_of_fonts() -> dict[Path, frozenset[int]]:
    """Of every upright font of the machine, matplotlib's own among them."""
    from matplotlib import font_manager  # finds fonts on every system; takes a while to import
    from matplotlib.ft2font import FT2Font

    found: dict[Path, frozenset[int]] = {}
    for font in font_manager.fontManager.ttflist:
        name = font.name.lower().replace(" ", "").replace(".", "")
        if font.style != "normal" or any(own in name for own in BOXES_FOR_LETTERS):
            continue
        try:
            found[Path(font.fname)] = frozenset(FT2Font(font.fname).get_charmap())
        except (OSError, RuntimeError):  # listed but gone, or broken
            continue
    return found
