"""Watch a training: what becomes of its filters."""
