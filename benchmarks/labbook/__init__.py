"""The lab book: studies that one command trains, measures, tabulates and draws.

    experiments/studies/NAME/study.yaml     what is compared, and what it shows (study.py)
      -> runner.py                          trains and evaluates what is not there yet, below runs/
      -> results.json                       the values, with protocol, seconds, commit (results.py); from the runs'
                                            own records alone
      -> README.md, plot.png                the page (page.py, plot.py): means and intervals over seeds (interval.py)
      -> experiments/README.md              the leaderboard (board.py)

`make study study=NAME` does all of it; `make reproduce recipe=NAME/ROW` trains a row with a new seed and says if it
is within the row's interval (reproduce.py). Read first: study.py.
"""
