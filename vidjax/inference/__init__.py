"""Trained networks put to use: from a run directory or a published name, without the training data."""
