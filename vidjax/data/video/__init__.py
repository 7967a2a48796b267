"""Video files: opening, decoding, seeking, and what is known of each."""
