"""Runs side by side: curves over seeds, statistics, table, figure, page. Reads run folders, knows no training."""
