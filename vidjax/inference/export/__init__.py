"""Trained networks as files that run without vidjax.

`program` makes a network one function of its inputs, `stablehlo` and `onnx_export` write it, and `exported_file` writes
one or the other and compares what the file computes with the network.
"""
