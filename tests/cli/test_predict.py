"""`dense-lt predict` and the three lines of Python: any image, no annotations."""

import json

import numpy as np
import pytest
from PIL import Image

import dense_lt
from dense_lt.cli.main import main
from dense_lt.data.upright import read_upright
from dense_lt.utils.errors import DataError

CONFIG = """
name: run
threads: 1
data:
  dataset: {{kind: drawn, folder: {folder}/drawn, train_images: 24, val_images: 8, frequent: 1,
            common: 2, rare: 1, frequent_images: [20, 15], common_images: [12, 11],
            rare_images: [2, 1], val_images_per_class: 2, image_size: 64}}
  val_transforms: {{resize: {{short: [96], long: 200}}}}
  workers: 0
model:
  backbone: {{name: test_resnet}}
  pyramid: {{levels: [3, 4], backbone_levels: [3, 4], channels: 8}}
  head: {{channels: 8, num_convs: 1, norm_groups: 4}}
schedule: {{kind: cosine, warmup: 0}}
train: {{steps: 2, batch_size: 4}}
evaluation: {{resamples: 0}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained run `run` and its drawn images."""
    folder = tmp_path_factory.mktemp("predict")
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(folder=folder))
    assert main(["train", str(config), f"output={folder}"]) == 0
    return folder


@pytest.fixture(scope="module")
def images(folder):
    return sorted((folder / "drawn" / "val").glob("*.png"))[:3]


def test_predictions_are_those_of_the_evaluation(folder, images):
    predicted = json.loads((folder / "run" / "evaluation" / "predictions.json").read_text())
    truth = json.loads((folder / "drawn" / "annotations" / "val.json").read_text())
    ids = {entry["file_name"].rpartition("/")[2]: entry["id"] for entry in truth["images"]}
    names = {entry["id"]: entry["name"] for entry in truth["categories"]}
    for path, found in zip(
        images, dense_lt.load_run(folder / "run", device="cpu").predict(images), strict=True
    ):
        own = [entry for entry in predicted if entry["image_id"] == ids[path.name]]
        own.sort(key=lambda entry: -entry["score"])
        assert len(found.scores) == len(own) > 0
        np.testing.assert_allclose(found.scores, [o["score"] for o in own], atol=2e-5)
        best = own[0]
        x, y, width, height = best["bbox"]
        np.testing.assert_allclose(found.boxes[0], [x, y, x + width, y + height], atol=0.02)
        assert found.names[0] == names[best["category_id"]] == names[found.category_ids[0]]


def test_batches_files_and_pixels_give_the_same(folder, images):
    trained = dense_lt.load_run(folder / "run", device="cpu")
    alone = trained.predict(images)
    for other in (
        trained.predict([str(path) for path in images], batch_size=2),
        trained.predict([read_upright(path) for path in images]),
    ):
        for one, two in zip(alone, other, strict=True):
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
            assert one.size == two.size == (64, 64)


def test_low_scores_are_left_out(folder, images):
    trained = dense_lt.load_run(folder / "run", device="cpu")
    (everything,) = trained.predict(images[:1])
    limit = float(np.median(everything.scores))
    (found,) = trained.predict(images[:1], min_score=limit)
    assert 0 < len(found.scores) < len(everything.scores)
    assert found.scores.min() >= limit
    assert len(found.names) == len(found.boxes) == len(found.labels) == len(found.scores)


@pytest.mark.parametrize("pixels", [np.zeros((8, 8)), np.zeros((8, 8, 4), dtype=np.uint8)])
def test_pixels_of_another_kind_are_refused(folder, pixels):
    with pytest.raises(DataError, match=r"give \(height, width, 3\) uint8"):
        dense_lt.load_run(folder / "run", device="cpu").predict([pixels])


def test_the_command_draws_and_writes(folder, images, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / images[0].name).write_bytes(images[0].read_bytes())  # a name twice
    out = tmp_path / "out"
    arguments = [*map(str, images[:2]), str(other), "--out", str(out), "--min-score", "0"]
    assert main(["predict", *arguments, "--run", str(folder / "run")]) == 0
    assert "in 3 images; see" in capsys.readouterr().out
    entries = json.loads((out / "predictions.json").read_text())["images"]
    assert [entry["file_name"] for entry in entries] == [
        *map(str, images[:2]),
        str(other / images[0].name),
    ]
    first = entries[0]["objects"][0]
    assert first.keys() == {"name", "category_id", "score", "box"}
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == sorted([images[0].name, f"{images[0].stem}_1.png", images[1].name])
    drawn = np.asarray(Image.open(out / images[0].name).convert("RGB"))
    assert drawn.shape == (448, 448, 3), "enlarged by 7, so that names can be read"
    enlarged = read_upright(images[0]).repeat(7, axis=0).repeat(7, axis=1)
    assert (drawn != enlarged).any()


def test_a_turned_photograph_is_seen_upright(tmp_path):
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:, :10] = 255
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    seen = read_upright(tmp_path / "turned.png")
    assert seen.shape == (30, 20, 3)
    assert seen[:10].min() == 255
    assert seen[10:].max() == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.jpg", "no such file or folder"), ("empty", "no image in this folder")],
)
def test_images_that_are_not_there_are_named(folder, tmp_path, capsys, name, message):
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(tmp_path / name), "--run", str(folder / "run")]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_image_is_named(folder, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no image")
    arguments = ["predict", str(tmp_path), "--run", str(folder / "run"), "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "text.jpg: is no image that can be read" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_named(tmp_path, images, capsys):
    assert main(["predict", str(images[0]), "--run", str(tmp_path)]) == 2
    assert "this is no run folder" in capsys.readouterr().err
