"""The machine and the process: files, paths, devices, memory, termination, the terminal."""
