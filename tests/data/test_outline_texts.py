import json

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from dense_lt.data.outline_texts import outline_texts
from dense_lt.data.segmentations import is_polygon

NUMBERS = st.one_of(st.integers(-50, 50), st.floats(-50, 50).map(lambda x: round(x, 2)))
LISTS = st.lists(NUMBERS, max_size=9)
OUTLINES = st.one_of(
    st.lists(LISTS, max_size=3),
    LISTS,
    st.lists(st.one_of(NUMBERS, LISTS, st.lists(LISTS, max_size=2)), max_size=3),
    st.sampled_from([None, 0, {}, "", False, "text", 5, [["a"] * 6], [[None] * 6]]),
    st.fixed_dictionaries(
        {},
        optional={
            "size": st.sampled_from([[2, 5], [5, 2], [1, 7], [7, -1], [0, 7], [7], [1, 2, 5]]),
            "counts": st.sampled_from(["55", "abc", "", "é", [], [3, 4], [10], [7.0], [-1], 7]),
        },
    ),
)


def _needs_a_look(outline) -> bool:
    if not outline:
        return False
    if isinstance(outline, dict):
        counts, size = outline.get("counts"), outline.get("size", [])
        pixels = {"55": 10, "[3, 4]": 7, "[10]": 10}.get(str(counts))
        return len(size) != 2 or min(size) <= 0 or pixels != size[0] * size[1]
    return not isinstance(outline, list) or not all(map(is_polygon, outline))


@given(st.lists(OUTLINES, max_size=6), st.sampled_from([None, 1]))
@example([[[1, 2, 3, 4, 5, 6], 5, [1, 2, 3, 4, 5, 6]]], None)
@example([[[1, 2, 3, 4, 5, 6], 5]], None)
@example([[5, [1, 2, 3, 4, 5, 6]]], None)
@example([[[[1, 2, 3, 4, 5, 6]]]], None)
def test_what_needs_no_second_look_is_sound(outlines, indent):
    raw = [json.dumps(outline, indent=indent).encode() for outline in outlines] + [b""]
    texts = outline_texts(raw)
    given_texts = [texts.joined[a:b] for a, b in zip(texts.starts, texts.ends, strict=True)]
    assert len(given_texts) == len(raw)
    for own, text, outline in zip(texts.odd, given_texts, [*outlines, None], strict=True):
        assert own or not _needs_a_look(outline)
        if isinstance(outline, list | dict) and outline:
            assert json.loads(text) == outline
            assert own == _needs_a_look(outline)  # nothing sound is looked at twice
    runs = {
        row: outline["size"]
        for row, outline in enumerate(outlines)
        if isinstance(outline, dict) and outline and not _needs_a_look(outline)
    }
    assert dict(zip(texts.runs_row.tolist(), texts.runs_size.tolist(), strict=True)) == runs


def test_no_record_at_all_is_no_text():
    texts = outline_texts([])
    assert texts.joined == b""
    assert len(texts.odd) == len(texts.starts) == 0
    assert texts.runs_size.shape == (0, 2)
    assert texts.odd.dtype == np.bool_
