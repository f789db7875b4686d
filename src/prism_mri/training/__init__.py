"""Training: one loop, checkpoints, and the recipes that use it."""
