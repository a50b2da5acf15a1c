import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

from dense_lt.data.categories import CategoryTable
from dense_lt.data.segmentations import to_runs
from dense_lt.report.comparison import compare
from dense_lt.report.document import Gallery, Paragraph
from dense_lt.report.gallery import ExampleOptions, example_section

CLASSES = ("cat", "<b>newt</b>")


@pytest.fixture
def photographs(tmp_path):
    """Four images of a cat and a newt in COCO files; the newt is rare."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for image in range(4):
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{image}.png")
    names = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    images = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in range(4)]
    boxes = {0: [5, 5, 20, 20], 1: [35, 10, 20, 25]}
    objects = [
        {
            "id": 2 * i + c,
            "image_id": i,
            "category_id": c,
            "bbox": boxes[c],
            "area": 400,
            "iscrowd": 0,
        }
        for i in range(4)
        for c in boxes
    ]
    content = {"images": images, "annotations": objects, "categories": names}
    (tmp_path / "coco.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def make_example_run(make_run, photographs):
    """A run on the photographs that finds the classes given."""

    def make(name, found, **options):
        categories = CategoryTable(CLASSES, (0, 1), (200, 4), (200, 4), ("frequent", "rare"))
        run = make_run(name, categories=categories, **options)
        split = {
            "annotations": str(photographs / "coco.json"),
            "images": [str(photographs / "images")],
        }
        config = {
            "name": "run",
            "data": {
                "dataset": {"kind": "coco", "train": split, "val": split},
                "train_transforms": {"resize": None},
                "val_transforms": {"resize": None},
            },
            "schedule": {"kind": "cosine", "warmup": 1},
            "train": {"steps": 1},
        }
        (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
        boxes = {0: [6, 5, 20, 20], 1: [35, 11, 20, 25]}
        predictions = [
            {"image_id": i, "category_id": c, "bbox": boxes[c], "score": 0.9 - 0.1 * c}
            for i in range(4)
            for c in found
        ]
        path = run.folder / "evaluation" / "predictions.json"
        path.write_text(json.dumps(predictions))
        return replace(run, predictions=path)

    return make


def section_of(runs, folder, **options):
    folder.mkdir()
    section = example_section(compare(runs), folder, ExampleOptions(**options))
    galleries = [block for block in section.blocks if isinstance(block, Gallery)]
    texts = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    return galleries, " ".join(texts)


def test_examples_stand_beside_their_ground_truth(make_example_run, tmp_path):
    runs = [make_example_run("focal", [0]), make_example_run("efl", [0, 1], prior=0.2)]
    (gain, *rules, drawn), text = section_of(runs, tmp_path / "figures", count=1)
    (example,) = gain.examples
    assert [panel.title for panel in example.panels] == ["ground truth", "focal", "efl"]
    truth, focal, efl = (panel.lines for panel in example.panels)
    assert truth == ("<b>newt</b> (rare)", "cat (frequent)")  # the rarest first
    assert focal == ("cat 0.90 right",)
    assert efl == ("cat 0.90 right", "<b>newt</b> 0.80 right")
    assert [rule.examples for rule in rules] == [()] * 3
    assert len(drawn.examples) == 1
    assert "score of at least 0.2" in text
    for panel in example.panels:
        assert Image.open(tmp_path / "figures" / f"{panel.name}.png").size == (360, 240)


def test_detections_below_the_threshold_are_not_shown(make_example_run, tmp_path):
    galleries, _ = section_of(
        [make_example_run("efl", [0, 1])], tmp_path / "figures", threshold=0.85
    )
    assert galleries[0].examples[0].panels[1].lines == ("cat 0.90 right",)


def test_missing_predictions_are_the_reason_given(make_example_run, tmp_path):
    run = replace(make_example_run("focal", [0]), predictions=None)
    galleries, text = section_of([run], tmp_path / "figures")
    assert galleries == []
    assert "has no evaluation/predictions.json" in text


def test_a_run_without_predictions_is_left_out(make_example_run, tmp_path):
    bare = replace(make_example_run("efl", [0], prior=0.2), predictions=None)
    galleries, text = section_of([make_example_run("focal", [0]), bare], tmp_path / "figures")
    assert "efl is left out" in text
    assert len(galleries[0].examples[0].panels) == 2


def test_missing_images_are_the_reason_given(make_example_run, photographs, tmp_path):
    run = make_example_run("focal", [0])
    for path in (photographs / "images").iterdir():
        path.unlink()
    galleries, text = section_of([run], tmp_path / "figures")
    assert galleries == []
    assert "There are no example images:" in text


def test_a_run_without_settings_is_the_reason_given(make_example_run, tmp_path):
    run = make_example_run("focal", [0])
    (run.folder / "config.yaml").unlink()
    _, text = section_of([run], tmp_path / "figures")
    assert "has no config.yaml" in text


def test_more_runs_than_fit_are_left_out_and_named(make_example_run, tmp_path):
    runs = [make_example_run(f"run{i}", [0], prior=0.1 + 0.1 * i) for i in range(6)]
    galleries, text = section_of(runs, tmp_path / "figures", count=1)
    assert "Left out to save room: run" in text
    assert len(galleries[-1].examples[0].panels) == 6  # ground truth and five runs


def test_of_many_objects_the_rarest_are_drawn(make_example_run, tmp_path):
    galleries, _ = section_of([make_example_run("efl", [0, 1])], tmp_path / "figures", most=1)
    truth = galleries[0].examples[0].panels[0]
    assert truth.title == "ground truth, 1 rarest of 2"
    assert truth.lines == ("<b>newt</b> (rare)",)


def test_masks_are_drawn_on_objects_and_detections(make_example_run, photographs, tmp_path):
    """Black photographs, so that a colour in the middle of a box is that of a mask."""
    for path in (photographs / "images").iterdir():
        Image.new("RGB", (60, 40)).save(path)
    run = make_example_run("masks", [0])
    documents = photographs / "coco.json", run.predictions
    for path in documents:
        content = json.loads(path.read_text())
        entries = content if isinstance(content, list) else content["annotations"]
        for entry in entries:
            x, y, w, h = entry["bbox"]
            outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            entry["segmentation"] = (
                outline if entries is not content else encode(outline, height=40, width=60)
            )
        path.write_text(json.dumps(content))
    boxes_only = section_of([run], tmp_path / "boxes", count=1)[0][-1].examples[0]
    middle = 6 * 15, 6 * 15
    for panel in boxes_only.panels:
        assert Image.open(tmp_path / "boxes" / f"{panel.name}.png").getpixel(middle) == (0, 0, 0)
    run = replace(run, mask_results=replace(run.results, iou_type="segm"))
    example = section_of([run], tmp_path / "masks", count=1)[0][-1].examples[0]
    truth, found = (
        Image.open(tmp_path / "masks" / f"{panel.name}.png").getpixel(middle)
        for panel in example.panels
    )
    assert truth[0] == truth[1] == truth[2] > 80  # white, see-through
    assert found[2] > found[1] > found[0] > 0  # blue: right


def encode(polygons, *, height, width):
    runs = to_runs(polygons, height, width)
    return {"size": runs["size"], "counts": runs["counts"].decode()}
