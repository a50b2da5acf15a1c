import numpy as np
import pytest

from dense_lt.data.openimages.classes import class_index, read_classes
from dense_lt.utils.errors import DataError


def write(folder, text):
    path = folder / "classes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_follow_the_file_and_names_may_repeat(tmp_path):
    path = write(tmp_path, "/m/0cvnqh,Bench\n/m/020lf,Mouse\n/m/0dwy4,Bench\n")
    ids, names = read_classes(path)
    assert ids == ("/m/0cvnqh", "/m/020lf", "/m/0dwy4")
    assert names == ("Bench", "Mouse", "Bench")
    found = class_index(np.array([b"/m/0dwy4", b"/m/none", b"/m/0cvnqh"]), ids)
    assert found.tolist() == [2, -1, 0]


def test_a_header_is_no_class_and_names_may_be_quoted(tmp_path):
    path = write(tmp_path, 'LabelName,DisplayName\n/m/1,"Lamp, ""old"""\n/m/2\n')
    assert read_classes(path) == (("/m/1", "/m/2"), ('Lamp, "old"', "/m/2"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/m/1,a\n/m/2,b\n/m/1,c\n", r"line 3: class id '/m/1' is also in line 1; give every"),
        ("/m/1,a\n,b\n", "line 2: no class id"),
        ("", "holds no classes"),
    ],
)
def test_a_class_without_an_id_of_its_own_is_named(tmp_path, text, told):
    with pytest.raises(DataError, match=rf"classes\.csv: {told}"):
        read_classes(write(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"/m/1;Cat\n/m/2;Dog\n", "values are separated by ;; save it with commas"),
        (b"/m/1,Cat\n/m/2,Caf\xe9\n", "line 2: is not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_what_other_programs_save_is_told_with_its_mend(tmp_path, content, told):
    path = tmp_path / "classes.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"classes\.csv: {told}"):
        read_classes(path)


def test_ids_of_classes_may_be_of_any_alphabet():
    found = class_index(np.array(["/m/猫".encode(), b"/m/x"]), ("/m/x", "/m/猫"))
    assert found.tolist() == [1, 0]
