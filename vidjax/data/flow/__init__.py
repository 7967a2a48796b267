"""Optical flow of videos: computed once, kept in files, and read like any other stream."""
