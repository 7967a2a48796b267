"""Experiments: declaring which runs there are, running them, collecting their results."""
