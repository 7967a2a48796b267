"""From a config to a run: keys, loading, overrides, validation, identity."""
