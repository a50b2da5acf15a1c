from pathlib import Path

import numpy as np
import pytest

from dense_lt.data.csv_files import FLAG, NUMBER, TEXT, lines_of, read_table, read_tables
from dense_lt.utils.errors import DataError

COLUMNS = {"ImageID": TEXT, "XMin": NUMBER, "IsGroupOf": FLAG}


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_picked_by_name_in_any_order(tmp_path):
    path = write(tmp_path, "IsGroupOf,Source,XMin,ImageID\n1,x,0.25,a\n-1,,1e-3,b\n")
    table = read_table(path, COLUMNS)
    assert table["ImageID"].tolist() == [b"a", b"b"]
    assert table["XMin"].tolist() == [0.25, 0.001]
    assert table["IsGroupOf"].tolist() == [1, -1]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffImageID,XMin,IsGroupOf\na,0.5,0\nb,1,1\n",  # a byte order mark
        '"ImageID","XMin","IsGroupOf"\n"a","0.5",0\n"b",1,1\n',  # as R and pandas may write
        "ImageID, XMin, IsGroupOf\r\na,0.5,0\r\n\r\nb,1,1",  # Windows, a blank line, no last end
    ],
)
def test_other_programs_write_csv_in_other_ways(tmp_path, text):
    table = read_table(write(tmp_path, text), COLUMNS)
    assert table["ImageID"].tolist() == [b"a", b"b"]
    assert table["XMin"].tolist() == [0.5, 1]


def test_pieces_hold_the_rows_asked_for(tmp_path):
    path = write(tmp_path, "ImageID,XMin,IsGroupOf\n" + "".join(f"{i},0,0\n" for i in range(7)))
    pieces = [table["ImageID"].tolist() for table in read_tables(path, COLUMNS, rows=3)]
    assert list(map(len, pieces)) == [3, 3, 1]
    assert np.concatenate(pieces).tolist() == [str(i).encode() for i in range(7)]


def test_no_rows_are_a_table_without_rows(tmp_path):
    assert len(read_table(write(tmp_path, "ImageID,XMin,IsGroupOf\n"), COLUMNS)["XMin"]) == 0


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("c,x,0", "line 5: XMin is 'x'; a number is needed"),
        ("c,,0", "line 5: XMin is ''; a number is needed"),
        ("c,0,0.5", r"line 5: IsGroupOf is '0\.5'; a whole number is needed"),
        ("c,0", "line 5: has 2 values; at least 3 are needed"),
        (f"{'c' * 40},0,0", "line 5: ImageID is longer than 39 bytes"),
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_a_broken_value_is_named_with_line_and_column(tmp_path, row, told, rows):
    path = write(tmp_path, f"ImageID,XMin,IsGroupOf\na,0,0\n\nb,0,0\n{row}\nd,0,0\n")
    with pytest.raises(DataError, match=rf"table\.csv: {told}"):
        list(read_tables(path, COLUMNS, rows))


def test_a_missing_column_is_named_with_the_one_that_looks_like_it(tmp_path):
    path = write(tmp_path, "ImageID,Xmin,IsGroupOf\n")
    with pytest.raises(DataError, match=r"no column 'XMin'.*did you mean 'Xmin'"):
        read_table(path, COLUMNS)


@pytest.mark.parametrize(("mark", "told"), [(";", ";"), ("\t", "tabs")])
def test_other_separators_are_named(tmp_path, mark, told):
    path = write(tmp_path, "ImageID,XMin,IsGroupOf\na,0,0\n".replace(",", mark))
    with pytest.raises(
        DataError, match=rf"table\.csv: values are separated by {told}; save it with commas"
    ):
        read_table(path, COLUMNS)


def test_names_of_any_alphabet_are_bytes_of_utf_8(tmp_path):
    path = write(tmp_path, "\ufeffImageID,XMin,IsGroupOf\n画像 0,0,0\nb,1,0\n")
    assert read_table(path, COLUMNS)["ImageID"].tolist() == ["画像 0".encode(), b"b"]


@pytest.mark.parametrize("rows", [1, 100])
def test_text_of_another_encoding_is_named_with_its_line(tmp_path, rows):
    path = tmp_path / "table.csv"
    path.write_bytes("ImageID,XMin,IsGroupOf\n画像,0,0\n".encode() + b"caf\xe9,0,0\n")
    with pytest.raises(DataError, match=r"table\.csv: line 3: is not UTF-8 text; save .* as UTF-8"):
        list(read_tables(path, COLUMNS, rows))


def test_a_header_of_another_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"caf\xe9,XMin,IsGroupOf\n")
    with pytest.raises(DataError, match=r"line 1: is not UTF-8 text"):
        read_table(path, COLUMNS)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: there is no such file"):
        read_table(tmp_path / "none.csv", COLUMNS)


def test_blank_lines_count_as_lines_but_not_as_rows(tmp_path):
    path = write(tmp_path, "ImageID\na\n\n\nb\n")
    assert lines_of(path, [0, 1]) == [2, 5]
    assert lines_of(path, [1]) == [5]
    with pytest.raises(ValueError, match="no row 2"):
        lines_of(path, [0, 2])
