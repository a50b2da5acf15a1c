import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.open_images_files import BOXES, CLASSES, write_open_images

from dense_lt.data.openimages.read import read_open_images
from dense_lt.evaluation.openimages_evaluator import OpenImagesEvaluator
from dense_lt.evaluation.openimages_score import OpenImagesFiles, score_openimages
from dense_lt.evaluation.openimages_truth import read_truth
from dense_lt.evaluation.predictions import Predictions

PROTOCOLS = ("openimages", "openimages-expanded")


@pytest.fixture
def files(tmp_path):
    return write_open_images(tmp_path)


def evaluator_of(files, *, images=None):
    table, categories = read_open_images(files)
    truth = read_truth(files.boxes, files.classes, labels=files.labels, hierarchy=files.hierarchy)
    if images is not None:
        truth = truth.only_images(np.array(images, "S"))
    return OpenImagesEvaluator(
        truth, table, PROTOCOLS, categories=categories, device=torch.device("cpu")
    )


def found(table_rows) -> Predictions:
    """(image number, class number, score, xywh in pixels); numbers from 1."""
    image, category, scores, boxes = zip(*table_rows, strict=True)
    return Predictions(
        "test",
        np.array(image, np.int64),
        np.array(category, np.int64),
        np.array(scores, np.float32),
        np.array(boxes, np.float32),
    )


PERFECT = found(
    [
        (1, 2, 0.9, (0, 10, 50, 30)),  # aa is 100 x 40: the cat
        (1, 5, 0.8, (50, 0, 50, 20)),  # the group of cars
        (2, 3, 0.7, (10, 20, 10, 100)),  # bb is 50 x 200: the dog
        (2, 5, 0.6, (0, 0, 5, 20)),
        (3, 1, 0.9, (0, 0, 30, 30)),  # somebody looked for pets in cc: there is none
    ]
)


def test_pixels_and_numbers_become_the_challenge_s_terms(files):
    """Cat, dog and car are found. Pet and toy are there by expansion, and nobody predicted them.

    The pet in cc is a false positive of a class of which nothing is found: AP 0 either way.
    """
    result, expanded = evaluator_of(files).score(PERFECT, run="mine", resample=False)
    assert result.protocol == "openimages"
    assert {own.category_id: own.AP for own in result.per_class} == {
        "/m/pet": 0,
        "/m/cat": 1,
        "/m/dog": 1,
        "/m/toy": 0,
        "/m/car": 1,
    }
    assert result.metrics["mAP"] == pytest.approx(3 / 5)
    # instances 0, 1, 1, 0, 2: pet is AP1, toy AP2, cat AP3, dog AP4, car AP5
    assert [result.metrics[f"AP{k}"] for k in range(1, 6)] == [0, 0, 1, 1, 1]
    by_class = {own.category_id: own.AP for own in expanded.per_class}
    assert by_class["/m/toy"] == 1  # the dog
    # cat, then cc's false positive (equal scores: aa comes before cc), then dog: 1 and 2 / 3
    assert by_class["/m/pet"] == pytest.approx((1 + 2 / 3) / 2)


def test_the_numbers_are_those_of_the_csv_file(files, tmp_path):
    evaluator = evaluator_of(files)
    result, _ = evaluator.score(PERFECT, run="mine", resample=False)
    evaluator.save(PERFECT, tmp_path)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["ImageID"] == "aa"
    assert rows[0]["LabelName"] == "/m/cat"
    assert [float(rows[0][name]) for name in ("XMin", "XMax", "YMin", "YMax")] == [0, 0.5, 0.25, 1]
    from_file = score_openimages(
        OpenImagesFiles(
            predictions=tmp_path / "predictions.csv",
            boxes=files.boxes,
            classes=files.classes,
            labels=files.labels,
            hierarchy=files.hierarchy,
        )
    )
    assert from_file.metrics["mAP"] == result.metrics["mAP"]
    assert (tmp_path / "predictions.json").is_file()


def test_only_some_of_the_images_can_be_scored(files):
    result, _ = evaluator_of(files, images=["bb", "zz"]).score(PERFECT, run="", resample=False)
    assert result.counts["images"] == 1
    assert result.counts["annotations"] == 4  # dog, pet, toy, car
    by_class = {own.category_id: own.AP for own in result.per_class}
    assert by_class == {"/m/pet": 0, "/m/cat": None, "/m/dog": 1, "/m/toy": 0, "/m/car": 1}


def test_training_labels_in_another_order_than_the_file_s_are_translated(files):
    """A checkpoint keeps the order of its training; the file of classes may have another one."""
    expected, _ = evaluator_of(files).score(PERFECT, run="", resample=False)
    table, categories = read_open_images(files)
    lines = Path(files.classes).read_text().splitlines()
    Path(files.classes).write_text("\n".join(reversed(lines)))
    truth = read_truth(files.boxes, files.classes, labels=files.labels, hierarchy=files.hierarchy)
    assert truth.classes == CLASSES[::-1]
    evaluator = OpenImagesEvaluator(
        truth, table, PROTOCOLS[:1], categories=categories, device=torch.device("cpu")
    )
    (result,) = evaluator.score(PERFECT, run="", resample=False)
    assert result.metrics["mAP"] == expected.metrics["mAP"]
    counts = {own.category_id: own.train_instances for own in result.per_class}
    assert counts["/m/car"] == sum(row[1] == "/m/car" for row in BOXES)


def test_nothing_found_gives_numbers(files):
    result, _ = evaluator_of(files).score(Predictions.empty(), run="", resample=False)
    assert result.metrics["mAP"] == 0
