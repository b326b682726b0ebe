"""Comparisons of finished and running runs from their folders: curves, statistics, tables, figures and pages."""
