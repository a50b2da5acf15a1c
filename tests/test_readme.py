"""Every path and every command that the documents name exists."""

import re
import shlex
from pathlib import Path

import pytest

from dense_lt.cli.main import parse_arguments

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(document):
    text = document.read_text()
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    inline = re.findall(r"`((?:make|dense-lt|python (?:train|eval)\.py) [^`]+)`", text)
    return [" ".join(c.split("#")[0].split()) for c in [*lines, *inline]]


COMMANDS = sorted({(d.name, c) for d in DOCUMENTS for c in commands_of(d)})


def to_argv(command):
    words = shlex.split(command)
    if words[0] == "dense-lt":
        return words[1:]
    return [{"train.py": "train", "eval.py": "eval"}[words[1]], *words[2:]]


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=lambda value: str(value)[:60])
def test_every_command_is_understood(document, command):
    first = command.split()[0]
    if first == "make":
        target = command.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    elif command.startswith(("dense-lt ", "python train.py", "python eval.py")):
        parse_arguments(to_argv(command))
    else:
        assert first in {"pip", "torchrun", "sbatch", "kind:"}, f"{document}: {command}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_path_exists(document):
    text = document.read_text()
    named = re.findall(r"`((?:configs|dense_lt|docs|benchmarks|tests)/[\w./-]*)`", text)
    named += re.findall(r"(?<![\w/.])configs/[\w./-]+\.yaml", text)
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    missing = [path for path in named if not (ROOT / path).exists()]
    missing += [path for path in linked if not (document.parent / path).exists()]
    assert missing == []
