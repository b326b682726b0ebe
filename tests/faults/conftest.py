"""Keeps pytest out of this folder: it has no tests of its own, and its modules need what no test needs."""

collect_ignore_glob = ["*.py"]
