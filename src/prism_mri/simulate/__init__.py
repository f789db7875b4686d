"""Simulated MRI: anatomies, physics, scanners, cohorts."""
