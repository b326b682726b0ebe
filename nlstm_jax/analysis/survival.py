"""The log-rank test of censored times, such as the steps until a task is solved."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr


class LogRank(NamedTuple):
    """The result of a log-rank test.

    Attributes:
        observed: The number of events in the first group.
        expected: The number of events that the first group would have if the groups did not differ.
        statistic: The difference in standard deviations. It is positive if the first group has its events earlier.
        p: The two-sided p-value.
    """

    observed: int
    expected: float
    statistic: float
    p: float


def log_rank(
    first: Sequence[float], second: Sequence[float], first_events: Sequence[bool], second_events: Sequence[bool]
) -> LogRank | None:
    """Test whether two groups have their events at the same rate.

    A time without an event is censored: the event, if any, comes later. A run that is censored at the time of another
    run's event still counts as at risk.

    N. Mantel, "Evaluation of survival data and two new rank order statistics arising in its consideration", Cancer
    Chemotherapy Reports 50 (1966).

    Args:
        first: The times of the first group.
        second: The times of the second group.
        first_events: True where the time of the first group is that of an event, False where it is censored.
        second_events: The same for the second group.

    Returns:
        None if the groups cannot be compared: there is no event while both groups are at risk.

    Raises:
        ValueError: A group has not as many times as events.

    >>> result = log_rank([1, 2, 3], [7, 8, 9], [True, True, True], [True, True, False])
    >>> result.observed, round(result.p, 3)
    (3, 0.025)
    """
    for times, events in ((first, first_events), (second, second_events)):
        if len(times) != len(events):
            raise ValueError(f"log_rank: as many events as times expected, found {len(events)} and {len(times)}")
    all_times = np.array([*first, *second], float)
    is_event = np.array([*first_events, *second_events], bool)
    is_first = np.arange(all_times.size) < len(first)

    expected = 0.0
    variance = 0.0
    for time in np.unique(all_times[is_event]):
        at_risk = all_times >= time
        total = int(at_risk.sum())
        count = int((is_event & (all_times == time)).sum())
        share = float(is_first[at_risk].mean())
        expected += count * share
        if total > 1:
            variance += count * share * (1 - share) * (total - count) / (total - 1)
    if variance == 0:
        return None

    observed = int(is_event[is_first].sum())
    statistic = (observed - expected) / float(np.sqrt(variance))
    return LogRank(observed, expected, statistic, 2 * float(ndtr(-abs(statistic))))
