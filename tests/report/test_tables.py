from dense_lt.report.tables import (
    console_table,
    escape_markdown,
    markdown_table,
    percent,
    signed_percent,
    summary_table,
)


def test_percent_has_one_decimal_and_undefined_is_said():
    assert [percent(v) for v in (0.18249, 0.0, 1.0, None)] == ["18.2", "0.0", "100.0", "n/a"]


def test_a_difference_has_a_sign_unless_it_rounds_to_nothing():
    values = (0.108, -0.0014, 0.0004, -0.0004, None)
    assert [signed_percent(v) for v in values] == ["+10.8", "-0.1", "0.0", "0.0", "n/a"]


def test_console_columns_are_aligned():
    table = console_table(["run", "AP"], [["focal", "9.1"], ["efl", "10.2"]])
    assert table == "run      AP\n-----  ----\nfocal   9.1\nefl    10.2"


def test_wide_letters_take_two_columns():
    table = console_table(["run", "AP"], [["木", "1"], ["abc", "2"]])
    assert table.splitlines()[2] == "木    1"


def test_markdown_table_aligns_numbers_to_the_right():
    table = markdown_table(["run", "AP"], [["efl", "1"]])
    assert table == "| run | AP |\n| :-- | --: |\n| efl | 1 |"


def test_markdown_in_names_is_shown_and_not_obeyed():
    escaped = escape_markdown("a|b *c*\n<script> [x](y)")
    assert escaped == r"a\|b \*c\* &lt;script&gt; \[x\](y)"


def test_summary_has_a_row_per_run_and_the_groups_at_every_cap(make_run):
    lines = summary_table([make_run("focal"), make_run("efl", rare_gain=0.1)]).splitlines()
    assert lines[0].split()[:6] == ["run", "AP", "AP50", "APr", "APc", "APf"]
    assert lines[0].split()[6:] == ["APr@30", "APc@30", "APf@30"]
    assert [line.split()[0] for line in lines[2:]] == ["focal", "efl"]
    assert len({len(line) for line in lines}) == 1


def test_summary_says_where_a_run_was_not_scored_at_a_cap(make_run):
    run = make_run("focal")
    other = make_run("hundred", max_detections=100, by_max_detections={"100": run.results.metrics})
    header, _, first, second = (line.split() for line in summary_table([run, other]).splitlines())
    assert header[-6:] == ["APr@100", "APc@100", "APf@100", "APr@30", "APc@30", "APf@30"]
    assert [cell == "n/a" for cell in first[1:]] == [False] * 5 + [True] * 3 + [False] * 3
    assert [cell == "n/a" for cell in second[1:]] == [True] * 5 + [False] * 3 + [True] * 3
