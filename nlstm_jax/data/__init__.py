"""Readers of data files, one module per kind of data set, and generators of data in the same forms."""
