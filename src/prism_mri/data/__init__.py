"""Read prepared datasets for training and scoring."""
