"""Poses: key points of the person in each frame, by a detector."""
