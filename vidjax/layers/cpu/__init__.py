"""Implementations of convolutions and pooling that are fast on CPUs."""
