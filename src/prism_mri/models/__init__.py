"""Trained networks as they lie on disk, and what is read from images with them."""
