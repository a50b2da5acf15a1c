"""What a run notes of where it ran."""

import re
import sys

from dense_lt.utils.environment import command, git_commit, versions


def test_versions_name_python_and_the_packages_that_move_numbers():
    found = versions()
    assert found["python"] == sys.version.split()[0]
    assert found["torch"]
    assert found["numpy"]


def test_the_commit_is_forty_digits_or_unknown():
    commit = git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)


def test_the_command_can_be_typed_again(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py", "my config.yaml", "train.steps=3"])
    assert command() == "train.py 'my config.yaml' train.steps=3"
