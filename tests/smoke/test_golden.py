"""Ten steps of the drawn configurations give the recorded losses.

A change of these numbers must touch `tests/golden/losses.json` and say why. To record them anew:
`python tests/smoke/test_golden.py`.
"""

import json
import tempfile
from pathlib import Path

import pytest

from dense_lt.cli.main import main

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "golden" / "losses.json"
CONFIGS = ["focal_prior_0.1", "equalized_focal"]


def ten_losses(config, folder):
    """Losses of ten steps of 4 images; names without the time and speed of a line."""
    arguments = [
        f"output={folder}",
        f"data.dataset.folder={folder / 'drawn'}",
        "data.dataset.train_images=40",
        "data.dataset.val_images=4",
        "data.dataset.frequent_images=[12, 8]",
        "data.dataset.common_images=[4, 2]",
        "data.dataset.rare_images=[1, 1]",
        "data.dataset.val_images_per_class=1",
        "data.group_thresholds=[1, 4]",
        "train.batch_size=4",
        "train.epochs=1",
        "train.log_every=1",
        "schedule.warmup=2",
    ]
    assert main(["train", str(ROOT / "configs" / "drawn" / f"{config}.yaml"), *arguments]) == 0
    lines = (folder / f"drawn_{config}" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {
        name: [record[name] for record in records if record["kind"] == "train"]
        for name in ("loss/classification", "loss/box", "loss/quality")
    }


@pytest.mark.parametrize("config", CONFIGS)
def test_ten_losses_equal_the_recorded_ones(config, tmp_path):
    recorded = json.loads(RECORDED.read_text())[config]
    losses = ten_losses(config, tmp_path)
    for name, values in recorded.items():
        assert losses[name] == pytest.approx(values, rel=2e-3), name


if __name__ == "__main__":
    found = {}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = ten_losses(name, Path(folder))
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(found, indent=1) + "\n")
