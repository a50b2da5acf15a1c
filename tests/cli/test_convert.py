import csv
import json

import numpy as np
import pytest
from helpers.annotation_files import lvis_content, write_json
from helpers.open_images_files import (
    BOXES,
    CLASSES,
    LABELS,
    NAMES,
    SIZES,
    VERIFIED,
    full_rows,
    write_csv,
    write_open_images,
    write_photographs,
)

from dense_lt.cli.main import main
from dense_lt.data.lvis import read_annotations

PUBLISHED = {
    "boxes.csv": "validation-annotations-bbox.csv",
    "classes.csv": "class-descriptions-boxable.csv",
    "labels.csv": "validation-annotations-human-imagelabels-boxable.csv",
    "tree.json": "bbox_labels_600_hierarchy.json",
    "sizes.csv": "validation_sizes-00000-of-00001.csv",
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Sizes that are read from images are kept, but not in the user's own folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Files under the names of the releases."""
    folder = tmp_path / "open_images"
    write_open_images(folder, full=True)
    for name, published in PUBLISHED.items():
        (folder / name).rename(folder / published)
    return folder


def convert(*arguments):
    return main(["data", "convert", *map(str, arguments)])


def rows_of(path):
    with path.open(newline="") as file:
        return sorted(map(tuple, csv.reader(file)))


def test_csv_files_become_one_file_in_the_format_of_lvis(folder, tmp_path, capsys):
    """Three traps of an older converter: its ids began with 0, groups and a label were lost."""
    path = tmp_path / "val.json"
    assert convert(folder, "--out", path) == 0
    content = json.loads(path.read_text())
    assert [one["id"] for one in content["annotations"]] == [1, 2, 3, 4]
    assert [one["id"] for one in content["categories"]] == [1, 2, 3, 4, 5]
    assert [one["freebase_id"] for one in content["categories"]] == list(CLASSES)
    assert [one["iscrowd"] for one in content["annotations"]] == [0, 1, 0, 0]
    assert [one["IsGroupOf"] for one in content["annotations"]] == [0, 1, 0, 0]
    assert [one["IsOccluded"] for one in content["annotations"]] == [1, 1, 1, 1]
    assert "IsTruncated" not in content["annotations"][0]  # unknown in every box
    image = content["images"][0]
    assert (image["file_name"], image["width"], image["height"]) == ("aa.jpg", 100, 40)
    assert image["neg_category_ids"] == [3, 4]  # aa's toy is the first label of the file
    assert image["pos_category_ids"] == [1, 2, 5]
    assert image["not_exhaustive_category_ids"] == [1, 5]
    assert content["annotations"][0]["bbox"] == [0, 10, 50, 30]
    assert "frequency" not in content["categories"][0]  # of a validation split
    assert "3 images, 4 annotations, 5 categories" in capsys.readouterr().out


def test_what_is_written_can_be_read_and_is_the_same(folder, tmp_path):
    from dense_lt.data.openimages.published import find_files
    from dense_lt.data.openimages.read import read_open_images

    convert(folder, "--out", tmp_path / "val.json")
    table, categories = read_annotations(tmp_path / "val.json", masks=False)
    expected, _ = read_open_images(find_files(folder, "validation", {})[0])
    assert categories.names == NAMES
    for name in ("boxes", "labels", "crowd", "offsets", "image_ids", "heights", "widths"):
        np.testing.assert_allclose(getattr(table, name), getattr(expected, name), rtol=1e-6)
    for index in range(3):
        for name in ("negatives", "not_exhaustive"):
            assert getattr(table, name)[index].tolist() == getattr(expected, name)[index].tolist()


def test_the_way_back_gives_the_rows_that_were_there(folder, tmp_path):
    """Labels also say what boxes show: aa has a cat and a car, bb a dog and a car."""
    assert convert(folder, "--out", tmp_path / "val.json", "--no-expand-labels") == 0
    back = tmp_path / "back"
    assert convert(tmp_path / "val.json", "--out", back, "--split", "validation") == 0
    boxes = rows_of(back / PUBLISHED["boxes.csv"])
    assert [row[:1] + row[2:4] + row[8:] for row in boxes[1:]] == sorted(
        (str(row[0]), str(row[2]), "1", *map(str, row[8:])) for row in full_rows(BOXES)
    )
    corners = [tuple(map(float, row[4:8])) for row in boxes[1:]]
    assert sorted(corners) == sorted(tuple(map(float, row[2:6])) for row in BOXES)
    assert rows_of(back / PUBLISHED["classes.csv"]) == sorted(zip(CLASSES, NAMES, strict=True))
    sizes = [(name, str(width), str(height)) for name, (height, width) in SIZES.items()]
    assert rows_of(back / PUBLISHED["sizes.csv"])[1:] == sorted(sizes)
    seen = [("aa", "/m/car"), ("aa", "/m/cat"), ("bb", "/m/car"), ("bb", "/m/dog")]
    labels = [(*row[:2], str(row[2])) for row in VERIFIED] + [(*pair, "1") for pair in seen]
    found = [row[:1] + row[2:] for row in rows_of(back / PUBLISHED["labels.csv"])[1:]]
    assert sorted(found) == sorted(map(tuple, labels))


def test_what_is_needed_and_found_is_told_first(folder, tmp_path, capsys, cache):
    (folder / PUBLISHED["sizes.csv"]).unlink()
    (folder / PUBLISHED["labels.csv"]).unlink()
    write_photographs(folder / "validation")
    assert convert(folder, "--out", tmp_path / "val.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"needed    boxes      found {folder / PUBLISHED['boxes.csv']}"
    assert lines[1].startswith("needed    classes    found")
    assert lines[2].startswith("optional  labels     not found")
    assert "every class counts as checked in every image" in lines[2]
    assert "https://storage.googleapis.com/openimages/" in lines[4]
    assert any(line == f"optional  images     found {folder / 'validation'}" for line in lines)
    image = json.loads((tmp_path / "val.json").read_text())["images"][0]
    assert (image["width"], image["height"]) == (100, 40)
    assert "neg_category_ids" not in image
    assert len(list(cache.rglob("sizes_*/*.csv"))) == 1  # an interrupted search would go on


def test_boxes_and_classes_are_enough(folder, tmp_path):
    for name in ("labels.csv", "sizes.csv", "tree.json"):
        (folder / PUBLISHED[name]).unlink()
    assert convert(folder, "--out", tmp_path / "val.json") == 0
    content = json.loads((tmp_path / "val.json").read_text())
    assert len(content["images"]) == 2
    assert content["images"][0]["width"] == 1024


def test_without_boxes_everything_that_is_missing_is_told(folder, tmp_path, capsys):
    (folder / PUBLISHED["boxes.csv"]).unlink()
    assert convert(folder, "--out", tmp_path / "val.json") == 2
    told = capsys.readouterr().err
    assert "boxes and classes are needed" in told
    assert "needed    boxes      not found" in told
    assert "openimages/challenge_2019/challenge-2019-train-detection-bbox.csv" in told
    assert not (tmp_path / "val.json").exists()


def test_files_under_other_names_can_be_given(folder, tmp_path):
    (folder / PUBLISHED["boxes.csv"]).rename(tmp_path / "mine.csv")
    out = tmp_path / "train.json"
    given = ("--boxes", tmp_path / "mine.csv", "--sizes", folder / PUBLISHED["sizes.csv"])
    assert convert(folder, "--out", out, *given) == 0
    first = json.loads(out.read_text())["categories"][4]
    assert (first["image_count"], first["instance_count"], first["frequency"]) == (2, 2, "f")


def test_several_splits_want_a_choice(folder, tmp_path, capsys):
    write_csv(folder / "challenge-2019-train-detection-bbox.csv", "a", [])
    assert convert(folder, "--out", tmp_path / "val.json") == 2
    assert "boxes of train and validation; choose with --split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "labels", "crowd"),
    [
        (["--group-of", "use"], [2, 5, 3, 5], [0, 0, 0, 0]),
        (["--group-of", "drop"], [2, 3, 5], [0, 0, 0]),
        (["--expand-boxes"], [2, 1, 5, 3, 1, 4, 5], [0, 0, 1, 0, 0, 0, 0]),
    ],
)
def test_groups_and_expansion_are_options(folder, tmp_path, options, labels, crowd):
    assert convert(folder, "--out", tmp_path / "val.json", *options) == 0
    annotations = json.loads((tmp_path / "val.json").read_text())["annotations"]
    assert [one["category_id"] for one in annotations] == labels
    assert [one["iscrowd"] for one in annotations] == crowd


def test_an_output_of_the_wrong_kind_is_one_message(folder, tmp_path, capsys):
    assert convert(folder, "--out", tmp_path / "somewhere") == 2
    assert "name it FILE.json" in capsys.readouterr().err
    assert convert(tmp_path / "none.json", "--out", tmp_path) == 2
    assert "there is no such" in capsys.readouterr().err


def test_images_of_one_name_in_several_folders_are_not_merged(tmp_path, capsys):
    content = lvis_content()
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "a/x.jpg", "b/x.png"
    source = write_json(tmp_path / "lvis.json", content)
    assert convert(source, "--out", tmp_path / "csv") == 2
    told = capsys.readouterr().err
    assert "'a/x.jpg' and 'b/x.png' would both have the ImageID 'x'" in told
    assert not (tmp_path / "csv").exists()


def test_names_of_any_alphabet_and_with_commas_go_there_and_back(tmp_path):
    content = lvis_content()
    names = ["画像 0.jpg", 'x, "y".jpg', "plain.jpg"]
    for image, name in zip(content["images"], names, strict=True):
        image["file_name"] = name
    content["categories"][0]["freebase_id"] = "/m/猫"
    source = write_json(tmp_path / "lvis.json", content)
    assert convert(source, "--out", tmp_path / "csv") == 0
    assert convert(tmp_path / "csv", "--out", tmp_path / "back.json", "--split", "train") == 0
    back = json.loads((tmp_path / "back.json").read_text(encoding="utf-8"))
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in back["images"]}
    assert sizes == {one["file_name"]: (one["width"], one["height"]) for one in content["images"]}
    assert len(back["annotations"]) == 4
    assert "/m/猫" in [one["freebase_id"] for one in back["categories"]]


@pytest.mark.parametrize("out", ["taken/val.json", "taken"])
def test_a_place_that_takes_no_files_is_named_before_anything_is_read(
    folder, tmp_path, capsys, monkeypatch, out
):
    source = folder if out.endswith(".json") else tmp_path / "none.json"
    (tmp_path / "taken").write_text("")
    assert convert(source, "--out", tmp_path / out) == 2
    assert f"--out {tmp_path / out}: {tmp_path / 'taken'} is a file" in capsys.readouterr().err
    (tmp_path / "taken").unlink()
    monkeypatch.setattr("os.access", lambda *_: False)
    assert convert(source, "--out", tmp_path / out) == 2
    assert f"the folder {tmp_path} cannot be written" in capsys.readouterr().err


def test_a_failed_conversion_leaves_no_file(folder, tmp_path, capsys):
    with (folder / PUBLISHED["boxes.csv"]).open("a") as file:
        file.write("aa,x,/m/cat,1,0,oops,0,1,0,0,0,0,0\n")
    assert convert(folder, "--out", tmp_path / "val.json") == 2
    assert "line 6: XMax is 'oops'; a number is needed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]


def test_any_lvis_file_becomes_csv_files(tmp_path):
    content = lvis_content()
    content["annotations"][0]["iscrowd"] = 1
    source = write_json(tmp_path / "lvis.json", content)
    assert convert(source, "--out", tmp_path / "csv") == 0
    boxes = rows_of(tmp_path / "csv" / "train-annotations-bbox.csv")
    assert len(boxes) == 5
    assert boxes[-1][:8] == ("b", "", "7", "1", "0.000000", "1.000000", "0.000000", "1.000000")
    assert [row[10] for row in boxes[1:]].count("1") == 1
    labels = rows_of(tmp_path / "csv" / "train-annotations-human-imagelabels-boxable.csv")
    assert ("a", "verification", "-3", "0") in labels
    assert labels[0] == tuple(LABELS.split(","))
