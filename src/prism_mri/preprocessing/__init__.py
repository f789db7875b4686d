"""From a native volume to slices that a network can read: one step a file."""
