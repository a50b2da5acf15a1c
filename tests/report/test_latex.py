import re
import shutil
import subprocess

import pytest

from dense_lt.report.document import Cell, Document, Paragraph, Section, Table
from dense_lt.report.latex import escape_latex, latex_table, latex_tables

EVIL = "50% of $x_1$ & {a}\\b ~ ^ # <script>"


def test_names_are_printed_as_they_are():
    assert escape_latex(EVIL) == (
        r"50\% of \$x\_1\$ \& \{a\}\textbackslash{}b \textasciitilde{} \textasciicircum{} \# "
        r"\textless{}script\textgreater{}"
    )


def test_a_table_has_the_rules_of_booktabs_and_a_column_a_cell():
    row = (Cell("AP", "rare"), Cell("12.3", "± 0.4", "+1.0", "better"), Cell("n/a", delta="≈ 0.0"))
    text = latex_table(Table(("percent", "a_b", "c"), (row,)))
    assert re.findall(r"\\(\w+rule)", text) == ["toprule", "midrule", "bottomrule"]
    assert r"\begin{tabular}{lrr}" in text
    assert r"{}percent & a\_b & c \\" in text
    assert r"{}AP rare & 12.3 $\pm$ 0.4 (\textbf{+1.0}) & n/a ($\approx$ 0.0) \\" in text


def test_a_long_table_breaks_over_pages():
    text = latex_table(Table(("a",), tuple((Cell(str(n)),) for n in range(61))))
    assert r"\begin{longtable}{l}" in text
    assert r"\endhead" in text


def test_every_table_is_a_file_and_no_two_have_the_same_name():
    table = Table(("a",), ((Cell("1"),),), label="Scores by group")
    blocks = (table, Paragraph("text"), table, Table(("a",), (), label="What / was"))
    document = Document("title", (Section("groups", "Groups", blocks), Section("x", "x", (table,))))
    assert list(latex_tables(document)) == [
        *("scores_by_group.tex", "scores_by_group_2.tex", "what_was.tex", "scores_by_group_3.tex")
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX is installed")
def test_latex_takes_the_tables(tmp_path):
    rows = tuple((Cell(EVIL, "±"), Cell("≈ 1", delta="→")) for _ in range(70))
    body = latex_table(Table((EVIL, "a"), rows)) + latex_table(Table((EVIL, "a"), rows[:2]))
    (tmp_path / "a.tex").write_text(
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs,longtable,textcomp}"
        f"\\begin{{document}}{body}\\end{{document}}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)
