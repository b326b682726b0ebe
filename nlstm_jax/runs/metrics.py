"""What a metric's name says of it."""


def higher_is_better(metric: str) -> bool:
    """Whether a metric is the better the higher it is; losses, errors and perplexities are not."""
    return metric.endswith("accuracy")
