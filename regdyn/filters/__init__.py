"""Filters of a network: what a run wrote down of them, and a model of their fate.

`record` reads. `preconditioner`, `laws` and `model` say how gamma, beta and the outgoing weights of
a layer's filters are worn down together, `absorption` how dead ReLUs absorb them, `stochastic` how
far both scatter; `fate` and `reasons` make forecasts of it. docs/filters.md.
"""
