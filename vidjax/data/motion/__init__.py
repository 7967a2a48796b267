"""The embedded data set `motion`: moving patterns, drawn and encoded on first use."""
