"""The log says everything once, on the console and in the run's file."""

import logging
import warnings

import pytest

from dense_lt.utils.logs import duration, log_to_file, set_up_logs

logger = logging.getLogger("dense_lt.somewhere")


@pytest.fixture(autouse=True)
def _clean_root():
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [own for own in root.handlers if own not in before]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_console_and_file_say_everything_once_also_what_came_before_the_file(tmp_path, capsys):
    set_up_logs()
    set_up_logs()
    logger.info("read %d images", 5)
    log_to_file(tmp_path / "log.txt")
    logger.warning("no boxes")
    shown, written = capsys.readouterr().err, (tmp_path / "log.txt").read_text()
    assert [line[9:] for line in shown.splitlines()] == ["read 5 images", "WARNING: no boxes"]
    assert written == shown


def test_a_quiet_process_shows_errors_only(capsys):
    set_up_logs(quiet=True)
    logger.warning("hidden")
    logger.error("shown")
    assert "hidden" not in (shown := capsys.readouterr().err)
    assert "ERROR: shown" in shown


def test_an_exception_keeps_its_traceback(capsys):
    set_up_logs()
    try:
        raise ValueError("the reason")
    except ValueError:
        logger.exception("it failed")
    assert "ValueError: the reason" in capsys.readouterr().err


def test_warnings_of_libraries_go_to_the_log(capsys):
    set_up_logs()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    assert "WARNING: " in (shown := capsys.readouterr().err)
    assert "old call" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (360000, "100:00:00")],
)
def test_duration_in_hours_minutes_seconds(seconds, text):
    assert duration(seconds) == text
