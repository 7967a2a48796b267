"""Convolutions of oneDNN, called by compiled programs on a CPU."""
