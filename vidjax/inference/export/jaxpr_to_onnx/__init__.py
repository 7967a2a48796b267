"""From a traced function to the nodes of an ONNX graph. Needs no `onnx`: that is for who writes the file.

`graph` collects nodes, `conversion` walks the jaxpr, and the other files have a rule per primitive: `elementwise`,
`layout` (shapes, joining, reducing), `indexing`, `contractions` (products and convolutions) and `pooling`.
"""
