"""The first and last lines of a training."""

from datetime import datetime

import pytest

from inkwash.jobs.summary import duration, expected_end


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (9000, "2.5 hours"), (362880, "4.2 days")],
)
def test_durations_have_the_largest_unit_of_which_there_are_two(seconds, words):
    assert duration(seconds) == words


def test_the_expected_end_is_a_time_of_day_with_its_date_on_another_day():
    evening = datetime(2026, 2, 28, 23, 50)
    assert expected_end(0.25, 1200, evening).startswith("5 min for the steps at this speed, to 23:55;")
    assert expected_end(0.25, 4800, evening).startswith("20 min for the steps at this speed, to 2026-03-01 00:10;")
