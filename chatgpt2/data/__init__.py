"""Data files of the package: the default vocabulary."""
