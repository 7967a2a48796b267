"""Networks in PyTorch, from the papers: peers that vidjax is measured beside and that tests compare it with."""
