"""Tables, figures, images and the HTML report. Everything here only reads files: no JAX, no data pipeline."""
