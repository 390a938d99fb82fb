"""The figures and tables of the paper, one file for each.

The paper is Mehta, Kim, Theobalt, "On Implicit Filter Level Sparsity in Convolutional Neural
Networks", arXiv 1811.12495. Each file holds `draw(data) -> Figure`, and `python -m figures NAME`
(or `all`) draws it. Figures import regdyn, matplotlib and files, never torch, cnn or sims.
"""
