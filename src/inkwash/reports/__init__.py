"""Tables and pictures made of results that exist already: nothing here computes a metric or needs a model.

evaluation_table.py writes the results of an evaluation as table.json, table.csv, quality.png and a table on the
terminal: one row for each checkpoint, sampler and seed, the best first. A Frechet distance is a random variable of the
generated images, so results that differ in their seed alone are summarised as mean and standard deviation.
image_grid.py lays images out on a sheet and saves it as PNG; headings.py writes the names of classes above its columns.

The values themselves come from metrics/, their directions (whether less is better) from runs/best.py. A table with
another view of the same results is a function beside `write_tables` in evaluation_table.py, the file to open first.
"""
