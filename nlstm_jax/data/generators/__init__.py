"""Generators of data that needs no download: verse, a chain of shops, sequences of symbols and prices."""
