"""Tables, pictures and pages made of results that exist already: nothing here computes a metric or needs a model.

A page is one HTML file that needs no network: page.py writes it from sections of blocks, figures.py draws its charts
with plotly, pictures.py packs its images, assets/ says how it looks and moves. Each page is a function of files:

    run_report.py          a run: run_files.py reads what it has left, run_curves.py, run_pictures.py and run_facts.py
                           make the sections, config_diff.py the difference to the defaults
    sweep_report.py        a sweep: the rows of its table; key_effects.py says which keys mattered
    evaluation_report.py   an evaluation: its results and their protocols
    comparison.py          several runs beside each other; same_noise.py says what their samples have in common

All of these are without torch, so that a command writes a page in a second. What a page shows and no file of a run
holds is drawn while it trains, with torch, into report/: drawings.py (both processes, classes, nearest images) and
schedule_curves.py. A section that cannot be made is left out and said to be missing; nothing fails for it.

evaluation_table.py writes the results of an evaluation as table.json, table.csv, quality.png and a table on the
terminal: one row for each checkpoint, sampler and seed, the best first. A Frechet distance is a random variable of the
generated images, so results that differ in their seed alone are summarised as mean and standard deviation.
evaluation_lines.py says which results are one line of a chart, length_plot.py draws quality against the length of an
average.
console.py prints a table so that it can be read at any width, run_list.py a list of runs, difference_lines.py what
differs in their configurations; progress_bar.py draws a bar on a terminal, or lines in a log file; curve_figure.py
draws a run's curves for a notebook. image_grid.py lays images out on a sheet and saves it as PNG; headings.py writes
the names of classes above its columns; animation.py makes a film of sheets.

The values themselves come from metrics/, their directions (whether less is better) from runs/best.py. A table with
another view of the same results is a function beside `write_tables` in evaluation_table.py. To understand the pages
open run_report.py first; a new section is a function in its list.
"""
