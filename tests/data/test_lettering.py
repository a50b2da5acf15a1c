import logging
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from dense_lt.data import lettering
from dense_lt.data.lettering import Lettering

WHITE = (255, 255, 255)


def _ink(text: str, own: Lettering) -> set[tuple[int, int]]:
    picture = Image.new("RGB", (200, 20))
    pen = ImageDraw.Draw(picture)
    own.write(pen, (0, 0), text, WHITE)
    return {(x, y) for x in range(200) for y in range(20) if picture.getpixel((x, y)) == WHITE}


def test_latin_names_are_written_without_looking_for_fonts(monkeypatch):
    monkeypatch.setattr(lettering, "_letters_of_fonts", lambda: pytest.fail("looked for fonts"))
    own = Lettering(["b\u00fcrste", "na\u00efve"])
    assert own.shown("b\u00fcrste") == "b\u00fcrste"
    assert _ink("b\u00fcrste", own)


def test_other_scripts_are_written_in_a_font_that_has_them():
    names = [
        "\u0448\u0430\u0440",
        "\u03c3\u03c6\u03b1\u03af\u03c1\u03b1",
    ]  # of matplotlib's own font
    own = Lettering(names)
    assert [own.shown(name) for name in names] == names
    assert _ink(names[0], own) != _ink(names[1], own)


def test_letters_that_no_font_has_are_written_as_escapes_with_a_line_that_says_so(
    monkeypatch, caplog
):
    latin = frozenset(range(32, 127))
    (path, *_) = lettering._letters_of_fonts()
    monkeypatch.setattr(lettering, "_letters_of_fonts", lambda: {Path(path): latin})
    with caplog.at_level(logging.WARNING):
        own = Lettering(["red \u81ea\u8ee2"])
    assert own.shown("red \u81ea\u8ee2") == "red \\u81ea\\u8ee2"
    assert "install one that has them" in caplog.text
    assert r"\u81ea\u8ee2" in caplog.text


def test_letters_that_cannot_be_seen_are_written_as_escapes():
    assert Lettering(["a\nb"]).shown("a\nb") == "a\\nb"


def test_fonts_that_show_boxes_for_letters_are_left_out():
    assert all("LastResort" not in path.name for path in lettering._letters_of_fonts())
