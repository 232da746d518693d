"""Break the mathematics in every small way there is and see whether the tests notice: `make mutants`.

edits        the mutants of a file: a sign flipped, a product made a quotient, an index shifted by one, s for t, ...
files        which files are broken, and which tests look at them
trials       the tests against a mutant: those that call the broken function, the nearest first, in a forked process
outcomes     what earlier trials found, in build/mutants, so that an interrupted run goes on
report       experiments/mutants/README.md
equivalent   mutants that change no result, each with the reason

A mutant costs as much as the first test that notices it: all modules and tests are imported once, and the fork only
exchanges the code of the broken function. What that function has returned by then, to a module that made a table of it
when it was imported, stays as it was.
"""
