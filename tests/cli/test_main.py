import subprocess
import sys

import pytest

from dense_lt.cli import main as cli
from dense_lt.utils.errors import ConfigError, DataError


@pytest.fixture
def command(monkeypatch):
    """Make `dense-lt backbones` raise what a test wants."""

    def install(error):
        def run(arguments):
            raise error

        monkeypatch.setattr("dense_lt.cli.backbones.run", run)
        return cli.main(["backbones"])

    return install


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a.yaml: seed: too small"), 2),
        (DataError("b.json: image 3 is missing"), 2),
        (FloatingPointError("step 7: loss is nan"), 3),
        (RuntimeError("operator torchvision::nms does not exist"), 2),
    ],
)
def test_an_expected_failure_is_one_message_and_a_status(command, capsys, error, status):
    assert command(error) == status
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert str(error) in message
    assert "Traceback" not in message


def test_a_fault_of_the_program_is_not_hidden(command):
    with pytest.raises(RuntimeError, match="shape mismatch"):
        command(RuntimeError("shape mismatch"))


def test_help_of_every_command_comes_without_importing_torch():
    code = (
        "import sys\n"
        "from dense_lt.cli.main import build_parser\n"
        "build_parser()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_command_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        cli.main(["fly"])
    message = capsys.readouterr().err
    assert all(name in message for name in cli.COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run.yaml", "seed=1", "threads=2", "--dry-run"],
        ["run.yaml", "--dry-run", "seed=1", "threads=2"],
        ["run.yaml", "seed=1", "--dry-run", "threads=2"],
    ],
)
def test_overrides_may_stand_before_and_after_options(arguments):
    parsed = cli.parse_arguments(["train", *arguments])
    assert parsed.dry_run
    assert parsed.overrides == ["seed=1", "threads=2"]


@pytest.mark.parametrize("extra", ["--dry", "--lr=3", "stray"])
def test_what_is_not_understood_is_named(capsys, extra):
    with pytest.raises(SystemExit):
        cli.main(["backbones", "resnet*", extra])
    assert extra in capsys.readouterr().err


def test_a_file_where_a_folder_should_be_is_one_message(command, capsys):
    assert command(FileExistsError(17, "File exists", "README.md")) == 2
    assert capsys.readouterr().err == "error: README.md: File exists\n"
