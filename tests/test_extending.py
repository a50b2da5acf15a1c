"""The worked examples of docs/extending.md, made in a copy of the package and trained."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```(?:python|yaml)\n# (.*?)\n(.*?)```", PAGE, flags=re.DOTALL)
TRAIN = """
import runpy
runpy.run_path("yolo_to_coco.py")
for name, test in runpy.run_path("tests/balance/test_square_root.py").items():
    if name.startswith("test_"):
        test()
import dense_lt
from dense_lt.cli.main import main
assert dense_lt.__file__.startswith({folder!r}), dense_lt.__file__
settings = ["train.epochs=null", "train.steps=2", "train.batch_size=4", "schedule.warmup=1"]
settings += ["evaluation.resamples=0", "device=cpu", "threads=1"]
raise SystemExit(main(["train", "mine.yaml", *settings]))
"""


def place(folder, where, code):
    """Put a block where its first line says: a new file, or beside a line of one that exists."""
    path, _, rest = where.partition(", ")
    file = folder / path
    if not rest:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
        return
    verb, anchor = re.fullmatch(r"(above|below|instead of) `(.*)`", rest).groups()
    lines = file.read_text().splitlines(keepends=True)
    (index,) = (k for k, line in enumerate(lines) if line.startswith(anchor.rstrip("`")))
    start, stop = {"above": (0, 0), "below": (1, 1), "instead of": (0, 1)}[verb]
    apart = "\n\n" if code.startswith(("class ", "@", "def ")) else ""
    lines[index + start : index + stop] = [code + apart]
    file.write_text("".join(lines))


def draw_photographs(folder):
    """A bright square of one of two classes in each of eight images, and two of background."""
    folder.mkdir()
    (folder / "classes.txt").write_text("left hand\nright hand\n")
    for split in ("train", "val"):
        (folder / split).mkdir()
        Image.new("RGB", (64, 64)).save(folder / split / "nothing.JPG")
        for number in range(4):
            pixels = np.full((64, 64, 3), 40, np.uint8)
            x = 8 + 28 * (number % 2)
            pixels[20:44, x : x + 24] = 220
            Image.fromarray(pixels).save(folder / split / f"{number}.png")
            line = f"{number % 2} {(x + 12) / 64} 0.5 {24 / 64} {24 / 64}\n"
            (folder / split / f"{number}.txt").write_text(line)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with the examples in it."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(ROOT / "dense_lt", folder / "dense_lt", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copytree(ROOT / "configs" / "_base", folder / "configs" / "_base")
    for where, code in BLOCKS:
        place(folder, where, code)
    draw_photographs(folder / "photographs")
    return folder


def test_the_examples_are_trained_and_evaluated(extended):
    done = subprocess.run(
        [sys.executable, "-c", TRAIN.format(folder=str(extended))],
        cwd=extended,
        env={**os.environ, "PYTHONPATH": str(extended), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = extended / "runs" / "mine"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]
    # Two images of each class make both rare, and 0.75 is what a negative weighs at ratio 1.
    assert 0 < lines[0]["negative_weight/rare"] <= 0.75
    assert json.loads((run / "evaluation" / "results.json").read_text())["counts"]["images"] == 5
    classes = json.loads((run / "categories.json").read_text())
    assert classes["names"] == ["left hand", "right hand"]


def test_what_is_added_follows_the_rules_of_the_house(extended):
    changed = sorted({where.partition(", ")[0] for where, _ in BLOCKS})
    files = [path for path in changed if path.endswith(".py")]
    ruff = [sys.executable, "-m", "ruff"]
    settings = ["--config", str(ROOT / "pyproject.toml")]
    # A script needs no docstring; whoever adds a case for good divides the function that holds it.
    for command in (["check", "--ignore=D100,C901"], ["format", "--check"]):
        done = subprocess.run(
            [*ruff, *command, *settings, *files],
            cwd=extended,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
