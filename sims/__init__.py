"""Simulation studies: one file, one question (to come)."""
