from dataclasses import replace

from dense_lt.report.comparison import MOST_SIDE_BY_SIDE, compare
from dense_lt.report.numbers import comparison_numbers
from dense_lt.report.runs import read_run
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


def with_masks(run, *, rare):
    """The same run, scored on masks too."""
    scores = {"AP": 0.2, "APr": rare, "APc": 0.2, "APf": 0.3}
    results = replace(
        run.results,
        iou_type="segm",
        metrics=scores,
        by_max_detections={"300": scores, "30": scores},
    )
    results.save(run.folder / "evaluation", "_segm")
    return read_run(run.folder)


def test_masks_have_rows_of_their_own_with_differences(make_run):
    plain = [make_run(f"a{s}", seed=s) for s in (0, 1)]
    one = [with_masks(run, rare=0.1 + n / 100) for n, run in enumerate(plain)]
    two = [with_masks(make_run(f"b{s}", seed=s, prior=0.3), rare=0.3 + s / 100) for s in (0, 1)]
    table, text, *_ = by_group(compare([*one, *two]), ()).blocks
    rows = {row[0].text: row for row in table.rows}
    assert [name for name in rows if name.startswith("mask ")] == [
        f"mask {metric}{cap}" for cap in ("", " at 30") for metric in ("AP", "APr", "APc", "APf")
    ]
    assert rows["mask APr"][0].detail == "rare classes"
    assert [cell.text for cell in rows["mask APr"][1:]] == ["10.5", "30.5"]
    assert rows["mask APr"][2].delta == "+20.0"
    assert "Masks are n/a" not in str(text)
    stored = comparison_numbers(compare([*one, *two]))["experiments"][1]["metrics"]
    (masks,) = [m for m in stored if (m["metric"], m["max_detections"]) == ("mask APr", 300)]
    assert masks["mean"] == 0.305


def test_runs_without_masks_are_named_once(make_run):
    boxes, masks = make_run("boxes"), with_masks(make_run("masks", prior=0.3), rare=0.1)
    comparison = compare([boxes, masks])
    told = str(by_group(comparison, ()).blocks[1:])
    assert told.count("Masks are n/a, since they were not predicted or not scored: boxes.") == 1
    assert "mask AP is n/a" not in told
    assert "mask" not in str(by_group(compare([boxes]), ()).blocks)
