import logging
from dataclasses import replace

import numpy as np
import pytest
from helpers.open_images_files import (
    BOXES,
    CAR,
    CAT,
    CHALLENGE,
    CLASSES,
    DOG,
    NAMES,
    PET,
    SIZES,
    TOY,
    VERIFIED,
    write_csv,
    write_open_images,
    write_photographs,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dense_lt.data.openimages import assemble
from dense_lt.data.openimages.assemble import Options
from dense_lt.data.openimages.flags import unpack_flag
from dense_lt.data.openimages.read import read_open_images
from dense_lt.utils.errors import DataError


def lists(ragged):
    return [ragged[index].tolist() for index in range(len(ragged))]


@pytest.mark.parametrize("full", [False, True])
def test_both_published_forms_give_the_same_boxes(tmp_path, full):
    """aa is 100 x 40 pixels: the cat is (0, 10) to (50, 40). bb is 50 x 200: the dog (10, 20)..."""
    table, categories = read_open_images(write_open_images(tmp_path, full=full))
    assert [table.file_names[index] for index in range(3)] == ["aa.jpg", "bb.jpg", "cc.jpg"]
    assert table.image_ids.tolist() == [1, 2, 3]
    assert (table.heights.tolist(), table.widths.tolist()) == ([40, 200, 30], [100, 50, 30])
    assert table.offsets.tolist() == [0, 2, 4, 4]
    assert table.labels.tolist() == [CAT, CAR, DOG, CAR]
    expected = [[0, 10, 50, 40], [50, 0, 100, 20], [10, 20, 20, 120], [0, 0, 5, 20]]
    np.testing.assert_allclose(table.boxes, expected, rtol=1e-6)
    np.testing.assert_allclose(table.areas, [1500, 1000, 1000, 100], rtol=1e-6)
    assert categories.dataset_ids == CLASSES
    assert categories.names == NAMES
    assert table.flags is not None
    assert unpack_flag(table.flags, "IsGroupOf").tolist() == [0, 1, 0, 0]
    occluded = unpack_flag(table.flags, "IsOccluded").tolist()
    assert occluded == ([1, 1, 1, 1] if full else [-1, -1, -1, -1])
    assert unpack_flag(table.flags, "IsTruncated").tolist() == [-1, -1, -1, -1]


def test_the_first_row_of_every_file_is_read(tmp_path):
    """An older converter drops the first image label: here aa's toy and bb's dog are rows one."""
    table, _ = read_open_images(write_open_images(tmp_path), Options(expand_labels=False))
    assert table.negatives is not None
    assert table.negatives[0].tolist() == [TOY]
    assert table.num_instances == len(BOXES)
    assert table.annotation_ids.min() == 1  # an id of 0 is lost by the lvis package


@pytest.mark.parametrize(
    ("group_of", "labels", "crowd"),
    [
        ("ignore", [CAT, CAR, DOG, CAR], [False, True, False, False]),
        ("use", [CAT, CAR, DOG, CAR], [False] * 4),
        ("drop", [CAT, DOG, CAR], [False] * 3),
    ],
)
def test_groups_are_regions_or_objects_or_nothing(tmp_path, group_of, labels, crowd):
    files = write_open_images(tmp_path)
    table, categories = read_open_images(files, Options(group_of=group_of))
    assert table.labels.tolist() == labels
    assert table.crowd.tolist() == crowd
    # a class of which a group was not boxed one by one is no evidence of absence elsewhere
    assert (CAR in table.not_exhaustive[0]) == (group_of != "use")
    assert categories.instance_counts == (0, 1, 1, 0, 2)  # whatever the option
    assert categories.image_counts == (0, 1, 1, 0, 2)


def test_verified_labels_go_up_and_down_the_hierarchy(tmp_path):
    """aa has a cat, so a pet; no toy, so no dog. bb has a dog, so a pet and a toy; no cat.

    cc has no pet, so neither cat nor dog; a car that nobody boxed.
    """
    table, _ = read_open_images(write_open_images(tmp_path))
    assert table.negatives is not None
    assert lists(table.negatives) == [[DOG, TOY], [CAT], [PET, CAT, DOG]]
    assert lists(table.not_exhaustive) == [[PET, CAR], [PET, TOY], [CAR]]
    assert table.negatives_of(1, 5) == {CAT}


def test_without_expansion_labels_speak_of_their_own_class(tmp_path):
    files = write_open_images(tmp_path)
    for own, options in (
        (files, Options(expand_labels=False)),
        (replace(files, hierarchy=None), Options()),
    ):
        table, _ = read_open_images(own, options)
        assert table.negatives is not None
        assert lists(table.negatives) == [[TOY], [CAT], [PET]]
        assert lists(table.not_exhaustive) == [[CAR], [], [CAR]]


def test_pieces_of_images_do_not_matter(tmp_path, monkeypatch):
    files = write_open_images(tmp_path)
    whole, _ = read_open_images(files)
    monkeypatch.setattr(assemble, "IMAGES", 1)
    monkeypatch.setattr(assemble, "BLOCK", 3)
    table, _ = read_open_images(files)
    assert lists(table.not_exhaustive) == lists(whole.not_exhaustive)
    assert table.negatives is not None
    assert lists(table.negatives) == lists(whole.negatives)
    np.testing.assert_array_equal(table.boxes, whole.boxes)
    np.testing.assert_array_equal(table.areas, whole.areas)


def test_what_is_present_is_nowhere_absent(tmp_path):
    """Somebody said that there is no pet in aa, but there is a box of a cat."""
    table, _ = read_open_images(write_open_images(tmp_path, labels=[("aa", "/m/pet", 0)]))
    assert table.negatives is not None
    assert table.negatives[0].tolist() == [DOG]


def test_boxes_are_copied_to_all_ancestors_with_their_flags(tmp_path):
    table, categories = read_open_images(write_open_images(tmp_path), Options(expand_boxes=True))
    assert table.labels.tolist() == [CAT, PET, CAR, DOG, PET, TOY, CAR]
    assert table.offsets.tolist() == [0, 3, 7, 7]
    np.testing.assert_array_equal(table.boxes[0], table.boxes[1])
    assert table.crowd.tolist() == [False, False, True, False, False, False, False]
    assert len(np.unique(table.annotation_ids)) == 7
    assert lists(table.not_exhaustive) == [[CAR], [], [CAR]]
    assert categories.instance_counts == (0, 1, 1, 0, 2)


def test_images_without_boxes_can_be_left_out(tmp_path):
    options = Options(images_without_boxes=False)
    table, _ = read_open_images(write_open_images(tmp_path), options)
    assert [table.file_names[index] for index in range(len(table))] == ["aa.jpg", "bb.jpg"]
    assert table.negatives is not None
    assert lists(table.negatives) == [[DOG, TOY], [CAT]]
    assert table.offsets.tolist() == [0, 2, 4]
    only_group = [*BOXES[:1], BOXES[2]]
    dropped, _ = read_open_images(
        write_open_images(tmp_path, boxes=only_group), replace(options, group_of="drop")
    )
    assert [dropped.file_names[index] for index in range(len(dropped))] == ["bb.jpg"]


def test_boxes_and_classes_are_enough(tmp_path, caplog):
    files = write_open_images(tmp_path, labels=None, hierarchy=False, sizes=False)
    with caplog.at_level(logging.INFO):
        table, _ = read_open_images(files)
    assert table.negatives is None  # nobody said which classes were looked for
    assert (table.heights == 1024).all()
    np.testing.assert_allclose(table.boxes[0], [0, 256, 512, 1024], rtol=1e-6)
    assert "the size of 2 of 2 images is not known (aa, bb, ...)" in caplog.text
    assert "no verified labels: every class counts as checked" in caplog.text
    assert "no hierarchy: nothing is expanded" in caplog.text


def test_sizes_that_no_file_gives_are_read_from_the_images(tmp_path):
    files = write_open_images(tmp_path, sizes=False)
    table, _ = read_open_images(replace(files, image_folders=(write_photographs(tmp_path / "i"),)))
    assert (table.heights.tolist(), table.widths.tolist()) == ([40, 200, 30], [100, 50, 30])


def test_labels_follow_the_training_classes_whatever_the_order_of_the_file(tmp_path):
    _, categories = read_open_images(write_open_images(tmp_path / "train"))
    files = write_open_images(tmp_path / "val")
    lines = files.classes.read_text().splitlines()
    files.classes.write_text("\n".join(reversed(lines)))
    table, same = read_open_images(files, categories=categories)
    assert same == categories
    assert table.labels.tolist() == [CAT, CAR, DOG, CAR]
    files.classes.write_text("\n".join([*lines[1:], "/m/bus,Bus"]))
    told = r"classes\.csv: 1 classes of the training data are missing \(/m/pet\) and 1 .*/m/bus"
    with pytest.raises(DataError, match=told):
        read_open_images(files, categories=categories)


def test_rows_of_other_classes_are_left_out_and_counted(tmp_path, caplog):
    boxes = [*BOXES, ("aa", "/m/bus", 0, 1, 0, 1, 0)]
    files = write_open_images(tmp_path, boxes=boxes, labels=[*VERIFIED, ("dd", "/m/bus", 1)])
    with caplog.at_level(logging.INFO):
        table, _ = read_open_images(files)
    assert table.num_instances == 4
    assert len(table) == 3  # dd has nothing of these classes
    assert "1 boxes are of classes that" in caplog.text
    assert "1 labels are of other classes" in caplog.text


def test_files_of_another_release_are_recognised(tmp_path):
    files = write_open_images(tmp_path, boxes=[("aa", "/m/bus", 0, 1, 0, 1, 0)])
    with pytest.raises(DataError, match=r"boxes\.csv: not one of its 1 rows is of a listed class"):
        read_open_images(files)


@pytest.mark.parametrize(
    ("row", "told", "droppable"),
    [
        (("aa", "/m/cat", "nan", 0.5, 0, 1, 0), "line 6: .*a corner is not a finite", False),
        (("aa", "/m/cat", 0.5, 0.5, 0, 1, 0), "line 6: .*has no area", True),
        (("aa", "/m/cat", 0.6, 0.5, 0, 1, 0), "line 6: .*has no area", True),
        (("aa", "/m/cat", 12, 50, 0, 40, 0), "line 6: .*reaches out.*divide pixels by", True),
        (("aa", "/m/cat", 0, 1, 0, 1, 7), "line 6: `IsGroupOf` is 7: must be 1 .yes.", False),
    ],
)
def test_a_broken_box_is_named_with_its_line_and_mend(tmp_path, row, told, droppable):
    files = write_open_images(tmp_path, boxes=[*BOXES, row])
    with pytest.raises(DataError, match=rf"boxes\.csv: \d faults?:\n  {told}"):
        read_open_images(files)
    if droppable:
        table, _ = read_open_images(files, drop_invalid_boxes=True)
        assert table.num_instances == 4
    else:
        with pytest.raises(DataError, match=told):
            read_open_images(files, drop_invalid_boxes=True)


def test_boxes_that_barely_leave_the_image_are_clipped(tmp_path):
    row = ("cc", "/m/cat", -0.001, 0.5, 0.5, 1.002, 0)
    table, _ = read_open_images(write_open_images(tmp_path, boxes=[*BOXES, row]))
    assert table.boxes[-1].tolist() == [0, 15, 15, 30]


def test_a_label_that_is_no_confidence_is_named(tmp_path):
    files = write_open_images(tmp_path, labels=[*VERIFIED, ("aa", "/m/dog", 2)])
    with pytest.raises(DataError, match=r"labels\.csv: 1 fault:\n  line 6: `Confidence` is 2\.0"):
        read_open_images(files)


def test_guesses_of_a_machine_verify_nothing(tmp_path, caplog):
    labels = [*VERIFIED, ("aa", "/m/dog", 0.7), ("dd", "/m/dog", 0.2)]
    files = write_open_images(tmp_path, labels=labels)
    with caplog.at_level(logging.INFO):
        table, _ = read_open_images(files)
    assert table.negatives is not None
    assert table.negatives[0].tolist() == [DOG, TOY]
    assert "2 labels are not verified" in caplog.text


def test_many_faults_are_counted(tmp_path):
    rows = [("aa", "/m/cat", 0.5, 0.5, 0, 1, 0)] * 50
    files = write_open_images(tmp_path, boxes=[*BOXES, *rows])
    with pytest.raises(DataError, match="21 faults"):  # twenty of a kind, and one for the rest
        read_open_images(files)


def test_a_missing_column_is_named(tmp_path):
    files = write_open_images(tmp_path)
    write_csv(files.boxes, CHALLENGE.replace("XMin", "X_Min"), BOXES)
    with pytest.raises(DataError, match=r"boxes\.csv: there is no column 'XMin'.*did you mean"):
        read_open_images(files)


def test_boxes_that_stand_twice_are_counted(tmp_path, caplog):
    moved = ("aa", "/m/cat", 0.0, 0.5, 0.25, 0.999999, 0)
    files = write_open_images(tmp_path, boxes=[*BOXES, BOXES[1], moved, BOXES[0], BOXES[1]])
    with caplog.at_level(logging.INFO):
        table, _ = read_open_images(files)
    assert "; 3 boxes repeat image, class and corners" in f"; {caplog.text.split('boxes.csv: ')[1]}"
    assert table.num_instances == 8


def test_no_boxes_at_all_are_a_table_and_a_warning(tmp_path, caplog):
    table, categories = read_open_images(write_open_images(tmp_path, boxes=[]))
    assert "boxes.csv: holds no boxes, only a header" in caplog.text
    assert (len(table), table.num_instances) == (3, 0)
    assert sum(categories.instance_counts) == 0


NAME = st.sampled_from(["aa", "bb", "cc", "dd"])
FRACTION = st.integers(0, 10**6).map(lambda number: number / 10**6)
BOX = st.tuples(
    NAME, st.sampled_from([*CLASSES, "/m/bus"]), *[FRACTION] * 4, st.integers(-1, 1)
).filter(lambda row: row[2] < row[3] and row[4] < row[5])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(BOX, max_size=12), st.booleans())
def test_random_files_are_read_as_a_plain_reading_says(tmp_path_factory, boxes, full):
    """Against a loop over the rows: by name of the image, then in the order of the file."""
    files = write_open_images(tmp_path_factory.mktemp("set"), boxes=boxes, labels=[], full=full)
    known = sorted((row for row in boxes if row[1] in CLASSES), key=lambda row: row[0])
    if boxes and not known:
        with pytest.raises(DataError, match="not one of its"):
            read_open_images(files)
        return
    table, categories = read_open_images(replace(files, labels=None))
    owner = np.repeat(np.arange(len(table)), np.diff(table.offsets)).tolist()
    found = [table.file_names[index].removesuffix(".jpg") for index in owner]
    assert found == [row[0] for row in known]
    assert [CLASSES[label] for label in table.labels.tolist()] == [row[1] for row in known]
    assert table.crowd.tolist() == [row[-1] == 1 for row in known]
    sizes = [{"dd": (1024, 1024), **SIZES}[row[0]] for row in known]
    expected = [
        (row[2] * w, row[4] * h, row[3] * w, row[5] * h)
        for row, (h, w) in zip(known, sizes, strict=True)
    ]
    np.testing.assert_allclose(table.boxes, np.reshape(expected, (-1, 4)), atol=1e-3)
    counts = [sum(row[1] == own for row in known) for own in CLASSES]
    assert list(categories.instance_counts) == counts
