"""The page in a real browser, where one is installed: sorting, searching, nothing too wide."""

import json
import re
import shutil
import subprocess

import pytest

from dense_lt.report import sections
from dense_lt.report.comparison import compare
from dense_lt.report.document import Document
from dense_lt.report.page import render_page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

PROBE = """
<pre id="probe"></pre><script>
const found = {};
window.addEventListener("error", (event) => { found.error = event.message; });
const box = document.querySelector(".sortable");
const column = (i) => [...box.querySelectorAll("tbody tr")].filter((r) => !r.hidden)
  .map((r) => r.cells[i].textContent);
const heads = box.querySelectorAll("thead button");
heads[2].click(); found.down = column(2);
heads[2].click(); found.up = column(2);
heads[0].click(); found.names = column(0);
const input = box.querySelector("input");
input.value = "RARE disc"; input.dispatchEvent(new Event("input"));
found.matches = column(0); found.count = box.querySelector(".count").textContent;
found.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.getElementById("probe").textContent = JSON.stringify(found);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed")
@pytest.mark.parametrize("width", [500, 1280])
def test_the_class_table_sorts_and_searches_and_the_page_fits(make_run, tmp_path, width):
    comparison = compare([make_run("focal"), make_run("efl", prior=0.2)])
    parts = [sections.overview(comparison), sections.by_group(comparison, [])]
    parts += [sections.class_table(comparison), sections.settings(comparison)]
    page = tmp_path / "page.html"
    page.write_text(
        render_page(Document("title", tuple(parts))).replace("</body>", f"{PROBE}</body>")
    )
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dom).group(1))
    images = sorted((c.train_images for c in comparison.data_sets[0].classes), reverse=True)
    assert "error" not in found
    assert [int(text) for text in found["down"]] == images
    assert [int(text) for text in found["up"]] == images[::-1]
    assert found["names"] == sorted(found["names"])
    assert 0 < len(found["matches"]) < 45
    assert all("disc" in name for name in found["matches"])
    assert found["count"] == f"{len(found['matches'])} of 45 rows"
    assert found["overflow"] <= 0
