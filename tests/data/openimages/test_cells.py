import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dense_lt.data.openimages.cells import Relations, to_lists, verify
from dense_lt.data.openimages.hierarchy import Related

CLASSES = 4
CHILDREN = {0: {1, 2}, 1: {2}, 2: set(), 3: set()}
PARENTS = {1: {0}, 2: {0, 1}, 0: set(), 3: set()}


def _related(names: dict[int, set[int]]) -> Related:
    return tuple(np.array([own, *sorted(names[own])]) for own in range(CLASSES))


RELATIONS = Relations(_related(PARENTS), _related(CHILDREN))
PAIRS = st.sets(st.tuples(st.integers(0, 5), st.integers(0, CLASSES - 1)), max_size=12)


def _cells(pairs):
    image = np.array([pair[0] for pair in pairs], np.int32)
    return RELATIONS.cells(image, np.array([pair[1] for pair in pairs], np.int16))


def _expand(pairs, relations):
    return pairs | {(image, other) for image, own in pairs for other in relations[own]}


@given(PAIRS, PAIRS, PAIRS, PAIRS, st.booleans(), st.booleans())
def test_arrays_of_cells_say_what_sets_say(boxed, groups, present, absent, boxes_up, labels_up):
    found = verify(
        _cells(boxed),
        _cells(groups),
        (_cells(present), _cells(absent)),
        RELATIONS,
        expand_boxes=boxes_up,
        expand_labels=labels_up,
    )
    seen = boxed | groups | present
    if labels_up:
        seen, absent = _expand(seen, PARENTS), _expand(absent, CHILDREN)
    if boxes_up:
        boxed, groups = _expand(boxed, PARENTS), _expand(groups, PARENTS)
    assert found.negatives is not None
    assert found.negatives.tolist() == _cells(absent - seen).tolist()
    assert found.not_exhaustive.tolist() == _cells((seen - boxed) | groups).tolist()


@given(PAIRS, st.sets(st.integers(0, 5)))
def test_lists_hold_the_classes_of_the_images_asked_for(pairs, images):
    classes, lengths = to_lists(_cells(pairs), CLASSES, np.array(sorted(images), np.int64))
    expected = [sorted(own for where, own in pairs if where == image) for image in sorted(images)]
    assert lengths.tolist() == list(map(len, expected))
    assert classes.tolist() == [own for one in expected for own in one]
