"""Decoded videos kept in memory or on disk."""
