"""PRISM: harmonize structural brain MRI across hospitals without sharing images."""

__version__ = "0.1.0"
