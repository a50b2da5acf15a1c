import pickle
import subprocess
import sys

import numpy as np
import pytest

from dense_lt.data.columns import Column, FileBytes, load_column


@pytest.fixture
def column(tmp_path) -> Column:
    np.save(tmp_path / "column.npy", np.arange(100_000))
    return load_column(tmp_path / "column.npy")


def test_a_column_travels_as_its_path_and_parts_of_it_as_their_values(column):
    packed = pickle.dumps(column)
    assert len(packed) < 1000
    copy = pickle.loads(packed)
    assert copy.path == column.path
    assert (copy == column).all()
    for part in (column[5:8], column[::2], column[[3, 1]]):
        assert (pickle.loads(pickle.dumps(part)) == part).all()
        assert part.path is None


def test_what_is_computed_from_a_column_is_like_that_of_any_array(column):
    assert type(column + 1) is np.ndarray
    assert type(column[:3] > 1) is np.ndarray
    for number in (column.sum(), column.max(), np.median(column), column[3]):
        assert not isinstance(number, np.ndarray)
        assert hash(number) is not None


def test_a_column_cannot_be_written_into(column):
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1


def test_an_empty_column_is_read_as_well(tmp_path):
    np.save(tmp_path / "empty.npy", np.zeros((0, 4), dtype=np.float32))
    assert load_column(tmp_path / "empty.npy").shape == (0, 4)


def test_processes_that_are_not_forked_find_columns_and_bytes(column, tmp_path):
    (tmp_path / "content.bin").write_bytes(b"0123456789")
    packed = tmp_path / "packed"
    packed.write_bytes(pickle.dumps((column, FileBytes(tmp_path / "content.bin"))))
    code = (
        f"import pickle; column, content = pickle.load(open({str(packed)!r}, 'rb')); "
        "assert (column[77], content[2:4]) == (77, b'23')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bytes_of_a_file_are_those_asked_for(tmp_path):
    (tmp_path / "content.bin").write_bytes(b"0123456789")
    content = FileBytes(tmp_path / "content.bin")
    assert (content[0:0], content[3:5], content[8:20], len(content)) == (b"", b"34", b"89", 10)
