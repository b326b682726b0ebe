"""A verdict with a margin, as `experiments.compare --margin` writes it."""


def judgement(title: str, value: float, margin: float, p: float, verdict: str) -> dict:
    """Return the verdict on a difference that was named in advance, in the form of `margin.judge_all`."""
    return {
        "title": title,
        "split": "valid",
        "metric": "log_loss",
        "unit": "nats",
        "level": None,
        "runs": [6, 6],
        "p_equivalence": None,
        "seeds": None,
        "seeds_equivalence": None,
        "named": True,
        "first": "a",
        "second": "b",
        "better": "b",
        "value": value,
        "half_width": margin / 2,
        "margin": margin,
        "p": p,
        "corrected": False,
        "verdict": verdict,
    }
