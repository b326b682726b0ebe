"""The direction in which a metric improves, derived from its name."""


def higher_is_better(metric: str) -> bool:
    """Return True if a higher value of the metric is better, as it is for accuracies.

    Lower is better for losses, errors and perplexities.
    """
    return metric.endswith("accuracy")
