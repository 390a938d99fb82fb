"""Forecasts against trained networks: ``python -m cnn.validate --help``; docs/forecast.md."""
