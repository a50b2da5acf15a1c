import json

import pytest

from dense_lt.evaluation.json_files import read_json, read_records
from dense_lt.utils.errors import DataError

RECORDS = [
    {"image_id": index, "note": "a }, { inside a string", "parts": [{"a": 1}, {"b": [2, 3]}]}
    for index in range(40)
]


@pytest.mark.parametrize("piece", [1, 7, 64, 500, 10_000])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n ", " : ")])
def test_records_do_not_depend_on_where_the_text_is_cut(tmp_path, piece, separators):
    path = tmp_path / "found.json"
    path.write_text("\n" + json.dumps(RECORDS, separators=separators), encoding="utf-8")
    pieces = list(read_records(path, piece))
    assert [record for records in pieces for record in records] == RECORDS


def test_plain_records_come_in_pieces(tmp_path):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{"score": 0.5}] * 100), encoding="utf-8")
    assert len(list(read_records(path, 100))) > 5


def test_an_empty_list_has_no_records(tmp_path):
    path = tmp_path / "found.json"
    path.write_text(" [ ] ", encoding="utf-8")
    assert [record for records in read_records(path) for record in records] == []


@pytest.mark.parametrize("text", ["", "{}", '{"image_id": 1}', "nonsense"])
def test_a_file_that_is_no_list_is_named(tmp_path, text):
    path = tmp_path / "found.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"found\.json: a JSON list of detections is needed"):
        list(read_records(path))


@pytest.mark.parametrize("piece", [10, 10_000])
def test_a_list_that_is_cut_off_says_after_which_entry(tmp_path, piece):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{"score": 0.5}] * 9)[:-5], encoding="utf-8")
    with pytest.raises(DataError, match=r"found\.json: not a JSON list, counted from entry"):
        list(read_records(path, piece))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path, message in (
        (tmp_path / "nowhere.json", r"nowhere\.json: there is no such file"),
        (tmp_path, "this is a folder; give a file"),
    ):
        with pytest.raises(DataError, match=message):
            list(read_records(path))
        with pytest.raises(DataError, match=message):
            read_json(path)


def test_numbers_that_are_not_json_are_left_to_the_checks(tmp_path):
    """NaN is what Python writes; which entry it stands in is said later."""
    path = tmp_path / "found.json"
    path.write_text('[{"score": NaN}, {"score": 1e400}]', encoding="utf-8")
    (records,) = read_records(path)
    assert [str(record["score"]) for record in records] == ["nan", "inf"]
    assert str(read_json(path)) == "[{'score': nan}, {'score': inf}]"


@pytest.mark.parametrize("piece", [1, 4, 1000])
def test_a_byte_order_mark_is_passed_over(tmp_path, piece):
    path = tmp_path / "found.json"
    path.write_text(' [{"a": 1}, {"a": 2}]', encoding="utf-8-sig")
    assert [record for part in read_records(path, piece) for record in part] == [{"a": 1}, {"a": 2}]
    assert read_json(path) == [{"a": 1}, {"a": 2}]
