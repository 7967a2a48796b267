"""Tables, figures, pictures and the HTML report. Everything here reads files only: no JAX, no data pipeline."""
