from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.evaluation_cases import make_case
from helpers.plain_diagnosis import plain_diagnosis, predictions_of

from dense_lt.evaluation import diagnosis
from dense_lt.evaluation.annotations import ground_truth_from
from dense_lt.evaluation.diagnosis import Diagnosis, diagnose
from dense_lt.evaluation.rules import COCO, LVIS
from dense_lt.utils.errors import DataError


def truth_of(document):
    return ground_truth_from(document, source="gt.json")


def box(x, y, width=10.0, height=10.0):
    return [float(x), float(y), float(width), float(height)]


def one_image(annotations, detections, *, negatives=(1, 2, 3)):
    """A document of three classes (rare, common, frequent) and its predictions."""
    document = {
        "images": [{"id": 7, "height": 99, "width": 99, "neg_category_ids": list(negatives)}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": c, "bbox": b, "area": b[2] * b[3]}
            for i, (c, b) in enumerate(annotations)
        ],
        "categories": [{"id": i + 1, "name": "abc"[i], "frequency": "rcf"[i]} for i in range(3)],
    }
    records = [{"image_id": 7, "category_id": c, "bbox": b, "score": s} for c, b, s in detections]
    return diagnose(truth_of(document), predictions_of(records))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("coco", [False, True])
def test_all_counts_are_those_of_plain_loops(seed, coco):
    document, records = make_case(seed, coco=coco, ties=False, detections=25, size=60)
    rules, cap = (COCO, 100) if coco else (LVIS, 300)
    found = diagnose(truth_of(document), predictions_of(records), rules=rules, cap=cap)
    plain = plain_diagnosis(document, records, coco=coco)
    assert found.category_ids == plain["category_ids"]
    assert found.objects == plain["objects"]
    assert found.detections == plain["detections"]
    for name in ("true_score", "false_score"):
        ours = np.array(getattr(found, name), dtype=float)
        np.testing.assert_allclose(ours, np.array(plain[name], dtype=float), rtol=1e-6)
    for group, sums in plain["reliability"].items():
        for name, values in sums.items():
            np.testing.assert_allclose(found.reliability[group][name], values, rtol=1e-6)
    assert sorted(found.confused) == sorted(plain["confused"])


def test_every_kind_of_error_on_one_picture():
    """Class 2 has seven objects, of which one is found; its best seven detections count."""
    objects = [(2, box(0, 0)), (3, box(30, 30)), (1, box(60, 60))]
    objects += [(2, box(80, 10 * n, 5, 5)) for n in range(6)]
    found = one_image(
        objects,
        [
            (2, box(0, 0), 0.9),  # right
            (2, box(1, 0), 0.8),  # the same object once more
            (2, box(5, 0), 0.7),  # IoU 50 / 150: badly placed
            (2, box(30, 31), 0.6),  # on an object of the frequent class
            (2, box(61, 60), 0.5),  # on one of the rare class
            (2, box(66, 60), 0.4),  # IoU 40 / 160 with an object of another class
            (2, box(0, 80), 0.3),  # on nothing
            (2, box(20, 80), 0.2),  # the eighth best: not looked at
        ],
    )
    kinds = {kind: number for kind, (_, number, _) in found.detections.items() if number}
    assert kinds == {
        **{"true": 1, "duplicate": 1, "localisation": 1, "both": 1, "background": 1},
        **{"confusion_rare": 1, "confusion_frequent": 1},
    }


def test_an_object_is_lost_before_or_in_classification():
    """Rare objects: named rightly; outscored by a frequent class; only covered by it; not seen."""
    spots = [box(0, 0), box(20, 0), box(40, 0), box(60, 0)]
    found = one_image(
        [(1, spot) for spot in spots],
        [
            *[(1, spots[0], 0.9), (3, spots[0], 0.8)],
            *[(1, spots[1], 0.2), (3, spots[1], 0.8)],
            (3, spots[2], 0.8),
        ],
    )
    rare = {name: own[0] for name, own in found.objects.items()}
    assert rare == {
        **{"all": 4, "covered": 3, "candidate": 2, "named": 1},
        **{"as_rare": 0, "as_common": 0, "as_frequent": 2},
    }
    assert found.confused == [(1, 3, 2)]


def test_scores_and_reliability_are_of_what_was_judged():
    found = one_image(
        [(1, box(0, 0)), (1, box(40, 0))],
        [
            *[(1, box(0, 0), 0.95), (1, box(0, 80), 0.91), (1, box(40, 0), 0.45)],
            *[(1, box(20, 80), 0.41), (1, box(60, 80), 0.05)],
            (2, box(0, 0), 0.99),  # nobody looked for class 2
        ],
        negatives=[3],
    )
    assert found.true_score[0] == pytest.approx(0.7)
    assert found.false_score[0] == pytest.approx(0.66)  # of the best two of three
    assert found.true_score[1] is None
    assert found.reliability["rare"]["count"] == [1, 0, 0, 0, 2, 0, 0, 0, 0, 2]
    assert found.reliability["rare"]["correct"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert found.reliability["rare"]["score"][9] == pytest.approx(1.86)
    assert sum(found.reliability["common"]["count"]) == 0


def test_without_detections_and_without_groups_there_is_a_diagnosis():
    document, _ = make_case(3)
    for category in document["categories"]:
        del category["frequency"]
    found = diagnose(truth_of(document), predictions_of([]))
    assert set(found.reliability) == {"all"}
    assert sum(found.objects["all"]) > 0
    assert sum(found.objects["covered"]) == 0
    assert set(found.false_score) == {None}


def test_masks_alone_are_no_boxes():
    document, records = make_case(3)
    without = replace(predictions_of(records), boxes=None)
    with pytest.raises(DataError, match="test: the diagnosis needs a `bbox` of every detection"):
        diagnose(truth_of(document), without)


def test_pairs_of_rare_classes_are_not_cut_off_by_those_of_frequent_ones(monkeypatch):
    names, own = np.array([1, 2, 1, 2, 4]), np.array([0, 0, 0, 0, 3])
    objects = SimpleNamespace(category=own)
    monkeypatch.setattr(diagnosis, "MOST_PAIRS", 1)
    ids, group_of = np.array([10, 11, 12, 13, 14]), np.array([0, 0, 0, 1, 1])
    found = diagnosis._confused(names, objects, ids, group_of)
    assert found == [(10, 11, 2), (13, 14, 1)]


def test_a_diagnosis_survives_its_file(tmp_path):
    document, records = make_case(5)
    norms = {category["id"]: 0.5 for category in document["categories"]}
    found = diagnose(truth_of(document), predictions_of(records), norms=norms)
    assert found.classifier_norms == [0.5] * 5
    found.save(tmp_path / "diagnosis.json")
    assert Diagnosis.load(tmp_path / "diagnosis.json") == found
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"other\.json: holds no diagnosis"):
        Diagnosis.load(tmp_path / "other.json")
