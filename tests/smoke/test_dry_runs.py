"""Every drawn configuration gets through a dry run: data, model, one batch forward and backward."""

from pathlib import Path

import pytest
from helpers.drawn_sets import SMALL

from dense_lt.cli.main import main

DRAWN = Path(__file__).parents[2] / "configs" / "drawn"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


@pytest.mark.parametrize("path", sorted(DRAWN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_dry_run_comes_to_the_losses_of_a_batch(path, folder, capsys):
    settings = SMALL | {"image_size": 80, "folder": folder}
    overrides = [
        f"data.dataset.{key}={list(value) if isinstance(value, tuple) else value}"
        for key, value in settings.items()
    ]
    if "init_from" in path.read_text():  # a run that only its users have
        overrides += ["model.init_from=null", "model.init_except=[]"]
    assert main(["train", str(path), "--dry-run", *overrides, "train.batch_size=4"]) == 0
    shown = capsys.readouterr().out
    assert "forward and backward: classification" in shown
    assert "nothing was trained or written" in shown
