"""The demo from beginning to end, as small as it gets."""

import json
from pathlib import Path

from dense_lt.cli.main import main

ROOT = Path(__file__).parents[2]
SMALL = [
    "data.dataset.image_size=48",
    "data.dataset.train_images=24",
    "data.dataset.val_images=8",
    "data.dataset.frequent=2",
    "data.dataset.common=1",
    "data.dataset.rare=1",
    "data.dataset.frequent_images=[12, 8]",
    "data.dataset.common_images=[3, 3]",
    "data.dataset.rare_images=[1, 1]",
    "data.dataset.val_images_per_class=2",
    "data.dataset.negatives_per_image=1",
    "data.group_thresholds=[1, 3]",
    "train.batch_size=4",
    "train.epochs=0.5",
    "schedule.warmup=1",
]


def demo(tmp_path, *arguments):
    folder = f"data.dataset.folder={tmp_path / 'drawn'}"
    configs = str(ROOT / "configs" / "drawn")
    command = ["demo", "--out", str(tmp_path / "runs"), "--configs", configs, *arguments]
    return main([*command, *SMALL, folder])


def test_the_demo_draws_trains_compares_and_does_not_repeat_itself(tmp_path, capsys):
    chosen = ["--variants", "focal_prior_0.1", "equalized_focal", "--jobs", "2"]
    assert demo(tmp_path, *chosen) == 0
    page = tmp_path / "runs" / "comparison" / "index.html"
    printed = capsys.readouterr().out
    assert str(page) in printed
    assert "equalized_focal" in page.read_text()
    results = tmp_path / "runs" / "focal_prior_0.1" / "evaluation" / "results.json"
    metrics = json.loads(results.read_text())["by_max_detections"]
    assert set(metrics) == {"300", "30"}
    before = results.stat().st_mtime_ns
    assert demo(tmp_path, *chosen) == 0
    assert results.stat().st_mtime_ns == before


def test_outside_of_the_repository_the_demo_says_where_to_run(tmp_path, capsys):
    assert main(["demo", "--configs", str(tmp_path)]) == 2
    assert "run the demo in the folder of the repository" in capsys.readouterr().err
