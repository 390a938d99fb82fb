"""Simulation studies: one file, one question (``python -m sims`` lists them).

A study is a module with

QUESTION : str
    One line.
SECONDS : int, optional
    About what the default run takes on one core. ``python -m sims all`` runs the studies that
    say they take a minute or less.
run(*, lanes=None, seed=0) -> xarray.Dataset
    The numbers, with what made them as attributes; no files.
table(data) -> pandas.DataFrame
    What is printed and written as CSV.
draw(data) -> matplotlib Figure
answer(data) -> str
    One paragraph: what was asked, what came out, what it means for the paper's claim.
"""
