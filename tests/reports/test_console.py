"""Tables on the terminal at any width."""

import pytest

from inkwash.reports.console import print_table

HEADER = ["model.channels", "optimizer.lr", "fd_classifier_1350", "accuracy_classifier_1350", "loss", "state"]
LINES = [["16", "0.001", f"0.{1234 + i}", "0.9876", "0.2345", "finished"] for i in range(9)]


@pytest.mark.parametrize("jobs", [1, 9])
@pytest.mark.parametrize("width", [64, 80, 200])
def test_words_are_whole_and_every_table_says_whose_line_it_is(width, jobs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(HEADER, LINES[:jobs], names=2)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.split()}
    assert words >= {*HEADER, *(cell for line in LINES[:jobs] for cell in line)}
    tables = sum("┏" in line for line in lines)
    assert sum("model.channels" in line and "optimizer.lr" in line for line in lines) == tables or jobs == 1
    assert tables == 1 or width < 100
