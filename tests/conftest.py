"""Shared settings: hypothesis draws the same examples every time."""

from hypothesis import settings

settings.register_profile("regdyn", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("regdyn")
