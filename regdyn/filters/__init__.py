"""Filters of a network: what a run wrote down of them, and a model of their fate.

`record` reads, `laws` and `model` say how gamma, beta and the outgoing weights of a layer's
filters move together; docs/filters.md.
"""
