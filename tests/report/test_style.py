import re
import xml.etree.ElementTree as ElementTree

from dense_lt.report.style import draw

SVG = "{http://www.w3.org/2000/svg}"


def paint_points(texts, **options):
    def paint(figure):
        axes = figure.subplots()
        axes.scatter(range(5), range(5), gid="other")
        axes.scatter(range(3), range(3), gid="points", **options)
        return {"points": texts, "not there": ["x"]}

    return paint


def test_a_figure_is_a_png_and_an_svg_that_stands_alone(tmp_path):
    inline = draw(tmp_path, "name", 2.0, paint_points(["a", "b", "c"]))
    assert (tmp_path / "name.png").read_bytes().startswith(b"\x89PNG")
    alone = ElementTree.parse(tmp_path / "name.svg").getroot()
    assert alone.tag == f"{SVG}svg"
    assert alone.get("width").endswith("pt")
    assert "var(--" not in (tmp_path / "name.svg").read_text()
    assert "currentColor" in inline


def test_each_mark_shows_its_own_text_under_the_mouse_and_names_are_text(tmp_path):
    texts = ["<script>alert(1)</script>", r"back\\slash \\1 &", "c"]
    inline = draw(tmp_path, "name", 2.0, paint_points(texts))
    root = ElementTree.fromstring(inline)
    marks = [mark for mark in root.iter(f"{SVG}use") if mark.find(f"{SVG}title") is not None]
    assert [mark.find(f"{SVG}title").text for mark in marks] == texts
    xs = [float(mark.get("x")) for mark in marks]
    assert xs == sorted(xs)
    assert "<script" not in inline


def test_marks_drawn_as_pixels_and_texts_that_do_not_fit_have_no_titles(tmp_path):
    for paint in (paint_points(["a", "b", "c"], rasterized=True), paint_points(["a"])):
        assert re.findall("<title>", draw(tmp_path, "name", 2.0, paint)) == []
