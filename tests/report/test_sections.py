from dense_lt.report.comparison import compare
from dense_lt.report.sections import overview


def test_seeds_of_the_data_are_named_where_runs_differ_in_them(make_run):
    same = compare([make_run("a0", seed=0), make_run("a1", seed=1)])
    other = compare([make_run(f"b{s}{d}", seed=s, data_seed=d) for d in (0, 1) for s in (0, 1)])
    texts = [
        "".join(cell.text for row in overview(one).blocks[-1].rows for cell in row)
        for one in (same, other)
    ]
    assert "2 (seed 0, 1)" in texts[0]
    assert "4 (seed 0, 1, 0, 1; data seed 0, 0, 1, 1)" in texts[1]
