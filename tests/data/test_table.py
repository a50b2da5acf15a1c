import dataclasses
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.annotation_files import coco_content, lvis_content, write_json
from helpers.tables import table_of

from dense_lt.data.lvis import read_annotations
from dense_lt.data.table import Names, Ragged


def test_names_come_back_whatever_they_are():
    names = ["a.jpg", "", "train/ä 日本.png"]
    held = Names(names)
    assert [held[i] for i in range(len(held))] == names


def test_ragged_lists_may_be_empty():
    held = Ragged.from_lists([[1, 2], [], [3]])
    assert [held[i].tolist() for i in range(3)] == [[1, 2], [], [3]]
    assert len(Ragged.from_lists([])) == 0


def test_an_image_sees_its_own_instances(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", coco_content()))
    first = table.image(0)
    assert (first.image_id, first.file_name, first.height, first.width) == (11, "a.png", 30, 40)
    assert first.annotation_ids.tolist() == [1, 9, 4]
    assert first.labels.tolist() == [2, 1, 2]
    assert first.boxes[1].tolist() == [20, 5, 28.5, 14]
    assert len(table.image(2).boxes) == 0
    assert table.labels_of(0) == {1, 2}
    assert table.labels_of(2) == frozenset()


def test_a_crowd_is_no_object_of_its_class(tmp_path):
    content = coco_content()
    content["annotations"][1]["iscrowd"] = 1
    table, _ = read_annotations(write_json(tmp_path / "a.json", content))
    assert table.labels_of(1) == frozenset()


def test_without_negatives_every_absent_class_counts_as_checked(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", coco_content()))
    assert table.negatives_of(0, 3) == {0}
    assert table.negatives_of(2, 3) == {0, 1, 2}


def test_negatives_are_those_of_the_file_where_it_has_them(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", lvis_content()))
    assert table.negatives_of(2, 3) == {0}
    assert table.not_exhaustive[1].tolist() == [1]


def test_a_class_was_checked_if_it_is_absent_or_marked_object_by_object(tmp_path):
    """Class 0 is absent everywhere, 1 not exhaustive in image 1; nobody looked for class 3."""
    table, _ = read_annotations(write_json(tmp_path / "a.json", lvis_content()))
    own = slice(*table.offsets[1:3].tolist())
    assert table.labels[own].tolist() == [1]
    assert table.checked_in(0, 4).tolist() == [True, True, True, False]
    assert table.checked_in(1, 4).tolist() == [True, False, False, False]
    assert table.checked_in(2, 4).tolist() == [True, False, False, False]


def test_a_crowd_hides_objects_of_its_class(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", lvis_content()))
    crowded = dataclasses.replace(table, crowd=np.array([False, True, *table.crowd[2:]]))
    assert table.labels[1] == 1
    assert crowded.checked_in(0, 3).tolist() == [True, False, True]


def test_all_classes_were_checked_where_the_file_does_not_say(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", coco_content()))
    assert table.checked_in(0, 3) is None


def test_a_selection_keeps_everything_of_its_images_in_the_order_asked(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", lvis_content()))
    part = table.select([2, 0])
    assert part.image_ids.tolist() == [8, 11]
    assert part.num_instances == 3
    assert part.image(1).annotation_ids.tolist() == [1, 9, 4]
    assert part.file_names[1] == "a.png"
    assert part.segmentation(1) == table.segmentation(1)
    assert part.negatives is not None
    assert part.negatives[0].tolist() == [0]
    assert table.select([]).num_instances == 0


def test_a_table_travels_to_another_process_unchanged(tmp_path):
    table, _ = read_annotations(write_json(tmp_path / "a.json", lvis_content()))
    copy = pickle.loads(pickle.dumps(table))
    assert (copy.boxes == table.boxes).all()
    assert copy.file_names[1] == table.file_names[1]
    assert isinstance(copy.offsets, np.ndarray)


SMAPS = Path("/proc/self/smaps_rollup")
MANY = 5_000


def _private_bytes() -> int:
    (line,) = [one for one in SMAPS.read_text().splitlines() if one.startswith("Private_Dirty")]
    return 1024 * int(line.split()[1])


def _look_at_everything(table, grown) -> None:
    before = _private_bytes()
    for index in range(len(table)):
        table.image(index)
        table.negatives_of(index, 3)
    for instance in range(table.num_instances):
        table.segmentation(instance)
    grown.value = _private_bytes() - before


@pytest.mark.skipif(not SMAPS.exists(), reason="only Linux says what memory is a process's own")
def test_a_loader_process_shares_the_annotations_and_copies_none(tmp_path):
    """As Python objects, 5,000 images with 10,000 instances take more than 10 MiB."""
    content = lvis_content()
    image, annotation = content["images"][0], content["annotations"][0]
    content["images"] = [{**image, "id": i} for i in range(MANY)]
    content["annotations"] = [
        {**annotation, "id": i, "image_id": i % MANY} for i in range(2 * MANY)
    ]
    table, _ = read_annotations(write_json(tmp_path / "many.json", content))
    context = multiprocessing.get_context("fork")
    grown = context.Value("q", -1)
    process = context.Process(target=_look_at_everything, args=(table, grown))
    process.start()
    process.join()
    assert 0 <= grown.value < 2 << 20


def test_the_digest_tells_tables_of_other_images_or_objects_apart():
    table = table_of([[0, 1], [2], []])
    assert table.digest == table_of([[0, 1], [2], []]).digest
    others = [
        table_of([[0, 1], [2]]),
        table_of([[0], [1, 2], []]),
        table_of([[0, 1], [1], []]),
        dataclasses.replace(table, image_ids=table.image_ids + 1),
        dataclasses.replace(table, boxes=table.boxes + 0.5),
        dataclasses.replace(table, crowd=~table.crowd),
    ]
    assert len({own.digest for own in (table, *others)}) == 7
