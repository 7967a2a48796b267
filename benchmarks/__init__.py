"""Side-by-side measurements against peers; each is a program, and none is asserted in a test."""
