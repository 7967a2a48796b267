"""PyTorch implementations of networks, from the papers, for benchmarks and parity tests."""
