"""The page in a real browser, if there is one: no errors, every figure, sorting, searching."""

import html
import json
import re
import shutil
import subprocess

import pytest
from helpers.fake_runs import draw_categories

from dense_lt.report.gallery import ExampleOptions
from dense_lt.report.write import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

WATCH = """<script>
window.errors = [];
window.addEventListener("error", (event) => window.errors.push(event.message), true);
</script>"""

PROBE = """
<pre id="probe"></pre><script>
const found = {};
const box = document.querySelector(".sortable:has([aria-label=Classes])");
const column = (i) => [...box.querySelectorAll("tbody tr")].filter((r) => !r.hidden)
  .map((r) => r.cells[i].textContent);
const heads = box.querySelectorAll("thead button");
heads[2].click(); found.down = column(2);
heads[2].click(); found.up = column(2);
heads[0].click(); found.names = column(0);
const input = box.querySelector("input");
input.value = "RARE disc"; input.dispatchEvent(new Event("input"));
found.matches = column(0); found.count = box.querySelector(".count").textContent;
const drawings = [...document.querySelectorAll("figure .drawing svg")];
found.drawings = drawings.map((own) => own.getBoundingClientRect()).map((r) => [r.width, r.height]);
found.titles = document.querySelectorAll("svg use > title").length;
found.bars = [...document.querySelectorAll("svg g > title")].map((own) => own.textContent);
found.scripts = document.scripts.length;
found.outside = performance.getEntriesByType("resource").length;
found.errors = window.errors;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.getElementById("probe").textContent = JSON.stringify(found);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")
def test_the_page_has_no_errors_shows_its_figures_sorts_searches_and_fits(make_run, tmp_path):
    categories = draw_categories(names=("<script>throw 1</script> rare disc",))
    options = {"explained": True, "categories": categories}
    runs = [make_run("focal", proposed=9, **options), make_run("<img src=x>", prior=0.2, **options)]
    page = write_report(runs, tmp_path / "out", examples=ExampleOptions(count=0))
    text = page.read_text(encoding="utf-8").replace("<title>", f"{WATCH}<title>", 1)
    page.write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    figures = len(list((tmp_path / "out" / "figures").glob("*.svg")))
    for width in (500, 1280):
        check(look(page, width, tmp_path), categories, figures)
        screenshot = tmp_path / f"page_{width}.png"
        browse(page, width, tmp_path, f"--screenshot={screenshot}")
        assert screenshot.stat().st_size > 10_000


def check(found, categories, figures):
    images = sorted(categories.image_counts, reverse=True)
    assert found["errors"] == []
    assert found["scripts"] == 3  # the page's own, and the two of this test
    assert found["outside"] == 0
    assert len(found["drawings"]) == figures == 14
    assert all(wide > 300 and high > 100 for wide, high in found["drawings"])
    assert found["titles"] >= 6 * 45  # three figures of points, two runs
    assert "focal, rare classes: right 50.0 %" in found["bars"]
    assert [int(text) for text in found["down"]] == images
    assert [int(text) for text in found["up"]] == images[::-1]
    assert 0 < len(found["matches"]) < 45
    assert all("disc" in name for name in found["matches"])
    assert found["count"] == f"{len(found['matches'])} of 45 rows"
    assert found["overflow"] <= 0


def look(page, width, folder):
    """What the probe at the end of the page found."""
    dom = browse(page, width, folder, "--dump-dom")
    return json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', dom).group(1)))


def browse(page, width, folder, task):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += [f"--user-data-dir={folder / 'profile'}", task, page.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout
