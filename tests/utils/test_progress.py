from dense_lt.utils.progress import byte_bar


def test_nothing_is_shown_where_nobody_looks(capsys):
    with byte_bar("reading", 10) as bar:
        bar.update(10)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_terminal_is_shown_the_bytes_that_are_done(capsys, monkeypatch):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with byte_bar("reading", 2_000_000) as bar:
        bar.delay = 0
        bar.update(1_000_000)
        assert "reading:  50%" in str(bar)
        assert "1.00M/2.00M" in str(bar)
