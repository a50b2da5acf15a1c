from dense_lt.report.comparison import MOST_SIDE_BY_SIDE, compare
from dense_lt.report.sections import by_group, overview


def test_seeds_of_the_data_are_named_where_runs_differ_in_them(make_run):
    same = compare([make_run("a0", seed=0), make_run("a1", seed=1)])
    other = compare([make_run(f"b{s}{d}", seed=s, data_seed=d) for d in (0, 1) for s in (0, 1)])
    texts = [
        "".join(cell.text for row in overview(one).blocks[-1].rows for cell in row)
        for one in (same, other)
    ]
    assert "2 (seed 0, 1)" in texts[0]
    assert "4 (seed 0, 1, 0, 1; data seed 0, 0, 1, 1)" in texts[1]


def test_many_experiments_become_rows_of_the_table_by_group(make_run):
    few = compare([make_run(f"r{i}", prior=0.1 + i / 100) for i in range(MOST_SIDE_BY_SIDE)])
    many = compare([make_run(f"m{i}", prior=0.1 + i / 100) for i in range(MOST_SIDE_BY_SIDE + 1)])
    wide, tall = (by_group(comparison, ()).blocks[0] for comparison in (few, many))

    assert wide.header[1:] == tuple(f"r{i}" for i in range(MOST_SIDE_BY_SIDE))
    assert [row[0].text for row in tall.rows] == [f"m{i}" for i in range(MOST_SIDE_BY_SIDE + 1)]
    assert tall.header == ("percent", *(row[0].text for row in wide.rows))
    assert tall.rows[0][1:] == tuple(row[1] for row in wide.rows), "the reference has no difference"
    assert "Figures with lines show m0 and the 5 of the highest AP" in str(
        by_group(many, ()).blocks
    )
    assert "Figures with lines" not in str(by_group(few, ()).blocks)


def test_seeds_that_do_not_pair_are_named(make_run):
    runs = [
        make_run(f"{n}{s}", seed=s, prior=p) for n, p in (("a", 0.1), ("b", 0.2)) for s in (0, 1)
    ]
    apart = [make_run(f"c{s}", seed=s, prior=0.3) for s in (5, 6)]
    assert "They are taken seed by seed. " in str(by_group(compare(runs), ()).blocks)
    told = str(by_group(compare([*runs, *apart]), ()).blocks)
    assert "They are taken seed by seed, but not of c. " in told
