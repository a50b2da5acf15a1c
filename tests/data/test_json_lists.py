import json
import tempfile
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dense_lt.data import json_lists
from dense_lt.data.json_lists import JsonFile
from dense_lt.utils.errors import DataError

ANYTHING = {name: msgspec.json.Decoder(list) for name in ("a", "b")}

# whatever looks like the end of an entry, of a list or of a string
TEXTS = st.sampled_from(["", "},{", "}, {", "}]", '"', "\\", '\\"},{', "[", "é 日本", "\u2028"])
SCALARS = st.one_of(TEXTS, st.integers(-(10**6), 10**6), st.booleans(), st.none(), st.floats(-9, 9))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
ENTRIES = st.lists(st.one_of(st.dictionaries(TEXTS, VALUES, max_size=3), VALUES), max_size=8)
MEMBERS = {"a": ENTRIES, "b": ENTRIES, "c": ENTRIES, "": VALUES}
DOCUMENTS = st.fixed_dictionaries({}, optional=MEMBERS)


def _read(path: Path, piece: int, decoders=ANYTHING) -> dict[str, list]:
    with mock.patch.object(json_lists, "PIECE", piece), JsonFile(path) as file:
        found: dict[str, list] = {}
        for one in file.pieces(decoders):
            found.setdefault(one.member, []).extend(one.records)
            assert file.plain(one.start, one.stop) == one.records
        lists = {name: found.get(name, []) for name in decoders if name in file.members}
        assert all(kind == "list" for name, kind in file.members.items() if name in lists)
        return lists


@settings(max_examples=150, deadline=None)
@given(
    DOCUMENTS,
    st.integers(1, 40),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"]),
)
def test_cuts_never_change_what_is_read(document, piece, indent, plain, encoding):
    text = json.dumps(document, indent=indent, ensure_ascii=plain)
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode(encoding))
        file.flush()
        found = _read(Path(file.name), piece)
    assert found == {name: document[name] for name in "ab" if name in document}


def test_every_way_to_cut_a_file_off_is_told(tmp_path):
    path = tmp_path / "cut.json"
    text = json.dumps({"a": [{"x": "},{", "y": [1, {"z": 2.5}]}, {}], "info": {"n": 12}, "b": []})
    for length in range(1, len(text)):
        path.write_text(text[:length])
        with pytest.raises(DataError, match=r"cut\.json: is not JSON \(or is cut off\)"):
            _read(path, 8)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": [{}, {"x" 1}]}', "expecting ',' or ']'|delimiter"),
        ('{"a": [{} {}]}', "expecting ',' or a bracket: line 1, byte 11"),
        ('{"a": [{},]}', "expecting an entry after ','"),
        ('{"a": []\n,"b" 1}', "expecting a name in double quotes and ':': line 2, byte 11"),
        ('{"a": []} {}', "there is more after the end"),
        ('{"a": [] "b": []}', "expecting ',' or '}'"),
        ("[1, 2", "line 1, byte 6"),
        ('{"a": [{"x": "\n"}]}', "control character"),
        ('{"n": 1' + "0" * 5000 + "}", "digits"),
        ('{"n": ' + "[" * 100_000, "recursion"),
    ],
)
def test_what_is_not_json_is_told_with_its_place(tmp_path, text, told):
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"(?i){told}"):
        _read(path, 8)


def test_a_list_given_twice_is_told(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"a": [{}], "a": []}')
    with pytest.raises(DataError, match="`a` is given twice"):
        _read(path, 8)


def test_bytes_that_are_no_text_are_told(tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(b'{"a": [{"x": "\xff"}]}')
    with pytest.raises(DataError, match=r"file\.json: cannot be read"):
        _read(path, 8)


def test_records_of_another_form_come_as_plain_json(tmp_path):
    class Own(msgspec.Struct):
        x: int

    path = tmp_path / "file.json"
    path.write_text('{"a": [{"x": 1}, {"x": 2}, {"x": NaN}, {"x": 4}]}')
    with mock.patch.object(json_lists, "PIECE", 6), JsonFile(path) as file:
        pieces = list(file.pieces({"a": msgspec.json.Decoder(list[Own])}))
    assert [piece.typed for piece in pieces] == [True, True, False, True]
    assert [piece.records[0].x for piece in pieces if piece.typed] == [1, 2, 4]
    assert str(pieces[2].records) == "[{'x': nan}]"


def test_a_pipe_is_read_as_well(tmp_path):
    import os
    import threading

    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=('{"a": [{"x": 1}]}',))
    writer.start()
    assert _read(path, 8) == {"a": [{"x": 1}]}
    writer.join()
