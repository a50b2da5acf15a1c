"""Every path and every command that the documents name exists, and its settings are valid."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest

from dense_lt.cli.main import parse_arguments
from dense_lt.config.experiment import ExperimentConfig
from dense_lt.config.load import load_config
from dense_lt.config.sweeps import SweepConfig, is_sweep, load_sweep
from dense_lt.config.yaml_files import parse

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(document):
    text = document.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    shell = [block for language, block in blocks if language in ("", "sh", "bash")]
    lines = [line for block in shell for line in block.splitlines() if line.strip()]
    words = r"(?:make|dense-lt|torchrun|python (?:train|eval)\.py)"
    inline = re.findall(rf"`({words} [^`]+)`", text)
    return [" ".join(c.split("#")[0].split()) for c in [*lines, *inline]]


COMMANDS = sorted({(d.name, c) for d in DOCUMENTS for c in commands_of(d)})


def to_argv(command):
    words = shlex.split(command)
    if words[0] == "dense-lt":
        return words[1:]
    if words[0] == "torchrun":
        return ["train", *words[words.index("train.py") + 1 :]]
    return [{"train.py": "train", "eval.py": "eval"}[words[1]], *words[2:]]


@pytest.mark.parametrize(("document", "command"), COMMANDS, ids=lambda value: str(value)[:60])
def test_every_command_is_understood(document, command):
    first = command.split()[0]
    if first == "make":
        target = command.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    elif command.startswith(("dense-lt ", "python train.py", "python eval.py")) or (
        first == "torchrun" and "train.py" in command
    ):
        parse_arguments(to_argv(command))
    else:
        assert first in {"pip", "torchrun", "sbatch", "kind:"}, f"{document}: {command}"


def configurations_of(command):
    """The configurations of this repository that a command names, and its settings."""
    words = shlex.split(command)
    paths = [ROOT / word for word in words if re.fullmatch(r"configs/[\w./-]+\.yaml", word)]
    return paths, [word for word in words if re.match(r"[a-z_]+(\.\w+)*=", word)]


MISSING = {"import-weights": ["data.dataset.root=FOLDER"]}
"""Command -> settings that it does without."""

WITH_CONFIGURATIONS = [(d, c) for d, c in COMMANDS if configurations_of(c)[0]]


@pytest.mark.parametrize(
    ("document", "command"), WITH_CONFIGURATIONS, ids=lambda value: str(value)[:60]
)
def test_every_configuration_of_a_command_is_valid_with_its_settings(document, command):
    paths, settings = configurations_of(command)
    for path in paths:
        if is_sweep(path):
            runs = load_sweep(path).runs
            named = [(path.parent / run.config, [*run.settings, *settings]) for run in runs]
        else:
            named = [(path, settings)]
        for file, own in named:
            load_config(file, [*own, *MISSING.get(command.split()[1], [])])


PIECE = re.compile(r"^    (?:base|model|data|train|out):.*\n(?:^    .*\n)*", re.MULTILINE)


@pytest.mark.parametrize(
    ("document", "piece"),
    [(path.name, piece) for path in DOCUMENTS for piece in PIECE.findall(path.read_text())],
    ids=lambda value: str(value).strip()[:40],
)
def test_every_piece_of_a_configuration_is_yaml_with_known_sections(document, piece):
    sections = parse(textwrap.dedent(piece))
    assert isinstance(sections, dict)
    if "runs" in sections:
        assert SweepConfig.model_validate(sections).runs
        return
    unknown = sections.keys() - ExperimentConfig.model_fields.keys() - {"base"}
    assert not unknown, f"{document}: {unknown}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_every_path_exists(document):
    text = document.read_text()
    named = re.findall(r"`((?:configs|dense_lt|docs|benchmarks|tests)/[\w./-]*)`", text)
    named += re.findall(r"(?<![\w/.])configs/[\w./-]+\.yaml", text)
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    missing = [path for path in named if not (ROOT / path).exists()]
    missing += [path for path in linked if not (document.parent / path).exists()]
    assert missing == []
