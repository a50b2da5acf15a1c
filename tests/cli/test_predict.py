"""`dense-lt predict` and the three lines of Python: any image, no annotations."""

import errno
import json

import numpy as np
import pytest
from PIL import Image

import dense_lt
from dense_lt.cli import predict as predict_command
from dense_lt.cli.main import main
from dense_lt.data.upright import read_upright
from dense_lt.engine.checkpoint import latest_checkpoint
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
    with pytest.raises(DataError, match=r"an array \(height, width, 3\) uint8"):
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
    assert [entry["picture"] for entry in entries][2] == f"{images[0].stem}_1.png"
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
    [
        ("missing.jpg", "no such file or folder"),
        ("empty", "no image in this folder"),
        ("empty", "not into its sub-folders"),
    ],
)
def test_images_that_are_not_there_are_named(folder, tmp_path, capsys, name, message):
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(tmp_path / name), "--run", str(folder / "run")]) == 2
    assert message in capsys.readouterr().err


def test_images_that_cannot_be_read_are_named_and_the_others_done(folder, images, tmp_path, capsys):
    bad = [tmp_path / "empty.png", tmp_path / "text.jpg"]
    bad[0].touch()
    bad[1].write_text("no image")
    out = tmp_path / "out"
    assert predict(folder, [*bad, images[0]], out) == 2
    said = capsys.readouterr()
    assert "in 1 images; see" in said.out
    assert f"2 of 3 images could not be read; what the others hold is in {out}" in said.err
    for path in bad:
        assert f"{path}: is no image that can be read" in said.err
    written = json.loads((out / "predictions.json").read_text())
    assert [entry["file_name"] for entry in written["images"]] == [str(images[0])]
    assert list(written["unreadable"]) == [str(path) for path in bad]
    assert (out / images[0].name).is_file()


def test_broken_links_of_a_folder_are_told(folder, images, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "image.png").write_bytes(images[0].read_bytes())
    for name, target in (("gone.jpg", "nowhere.jpg"), ("circle.tif", "circle.tif")):
        (tmp_path / "in" / name).symlink_to(tmp_path / "in" / target)
    assert predict(folder, [tmp_path / "in"], tmp_path / "out") == 2
    assert "2 of 3 images could not be read" in capsys.readouterr().err
    written = json.loads((tmp_path / "out" / "predictions.json").read_text())
    names = [tmp_path / "in" / name for name in ("circle.tif", "gone.jpg")]
    assert list(written["unreadable"]) == list(map(str, names))
    assert len(written["images"]) == 1


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    assert main(["predict", "no_such_image", "--run", str(tmp_path)]) == 2  # before the images
    assert "this is no run folder" in capsys.readouterr().err


def predict(folder, images, out, *options):
    return main(
        ["predict", *map(str, images), "--run", str(folder / "run"), "--out", str(out), *options]
    )


def test_photographs_are_never_written_over(folder, images, tmp_path, capsys):
    photographs = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in photographs:
        path.write_bytes(images[0].read_bytes())
    assert predict(folder, [tmp_path], tmp_path) == 2
    assert f"would be lost, 2 in all: {photographs[0]}, {photographs[1]}" in capsys.readouterr().err
    assert predict(folder, photographs[:1], tmp_path, "--no-pictures") == 0
    (tmp_path / "predictions.json").write_text("[]")  # of an evaluation
    assert predict(folder, photographs[:1], tmp_path, "--no-pictures") == 2
    assert predict(folder, [images[1]], tmp_path) == 2
    assert "predictions.json. Give a folder of its own" in capsys.readouterr().err
    assert [path.read_bytes() for path in photographs] == [images[0].read_bytes()] * 2


def test_a_file_that_predict_has_not_made_is_kept_and_its_own_are_renewed(
    folder, images, tmp_path, capsys
):
    assert predict(folder, images[:2], tmp_path) == 0
    assert predict(folder, images[:1], tmp_path) == 0
    said = capsys.readouterr().out
    assert (
        f"1 pictures of an earlier `dense-lt predict` are left there, such as {images[1].name}"
        in said
    )
    (tmp_path / images[0].name).write_bytes(images[1].read_bytes())
    assert predict(folder, images[:1], tmp_path) == 2
    assert f"would be lost, 1 in all: {tmp_path / images[0].name}" in capsys.readouterr().err


def test_pictures_of_one_name_never_take_that_of_another(folder, images, tmp_path):
    photographs = [tmp_path / name for name in ("a.png", "a_1.png", "more/a.bmp")]
    (tmp_path / "more").mkdir()
    for path in photographs:
        Image.open(images[0]).save(path)
    order = [photographs[0], photographs[2], photographs[1]]
    assert predict(folder, order, tmp_path / "out") == 0
    entries = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert [entry["picture"] for entry in entries] == ["a.png", "a_1.png", "a_1_1.png"]


def test_what_the_predictions_are_from_is_noted(folder, images, tmp_path):
    assert predict(folder, images[:1], tmp_path, "--min-score", "0.25", "--no-pictures") == 0
    noted = json.loads((tmp_path / "predictions.json").read_text())
    assert noted["run"] == str(folder / "run")
    assert noted["checkpoint"] == str(latest_checkpoint(folder / "run"))
    assert noted["step"] == 2
    assert noted["min_score"] == 0.25
    assert noted["images"][0]["picture"] is None
    assert noted["unreadable"] == {}
    assert not noted["interrupted"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]


@pytest.mark.parametrize("score", ["7", "nan", "-0.1", "x"])
def test_a_score_outside_its_range_is_refused(folder, images, tmp_path, capsys, score):
    with pytest.raises(SystemExit):
        predict(folder, images, tmp_path, f"--min-score={score}")
    assert "a score is a number in [0, 1]" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_told(folder, images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert predict(folder, images, tmp_path / "file") == 2
    assert f"{tmp_path / 'file'} is a file, not a folder" in capsys.readouterr().err


def test_a_full_disk_leaves_no_half_picture_and_names_it(
    folder, images, tmp_path, capsys, monkeypatch
):
    def fill(picture, path, **options):
        path.write_bytes(b"")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill)
    assert predict(folder, images[:1], tmp_path) == 4
    said = capsys.readouterr().err
    assert f"No space left on device: '{tmp_path / images[0].name}'" in said
    assert "make room and repeat the command" in said
    assert not list(tmp_path.iterdir())


def test_an_interrupted_command_keeps_the_objects_of_its_pictures(
    folder, images, tmp_path, capsys, monkeypatch
):
    def interrupted(pixels, found, path):
        if path.stem == images[1].stem:
            raise KeyboardInterrupt
        draw(pixels, found, path)

    draw = predict_command._draw
    monkeypatch.setattr("dense_lt.cli.predict._draw", interrupted)
    assert predict(folder, images, tmp_path) == 130
    assert (
        f"interrupted; {tmp_path / 'predictions.json'} has 1 of 3 images" in capsys.readouterr().err
    )
    written = json.loads((tmp_path / "predictions.json").read_text())
    (entry,) = written["images"]
    assert written["interrupted"]
    assert [path.name for path in tmp_path.glob("*.png")] == [entry["picture"]]
