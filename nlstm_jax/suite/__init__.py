"""A suite of tasks: its committed results, their verdicts and pages, and the runs that add to them."""
