"""The claims ledger: every claim of the paper, held against runs of ours.

============  ==========================================================================
`recorded`    the runs that are kept with the code, and what is measured on them
`checks`      what a check is: one comparison, its size, its noise, whether it is shown
`of_paper`    the checks of each claim of ``figures/reference/claims.csv``
`of_ours`     claims that go beyond the paper, in the same form
`ledger`      verdicts: the rows of ``claims.csv``
`page`        the same for readers: ``docs/claims.md`` and a picture
`runs_page`   every experiment with its numbers: ``docs/runs.md``
`written`     all files of ``python -m figures claims``
============  ==========================================================================

``python -m figures claims`` writes it from what is kept; ``--refresh`` trains what is missing.
"""
