"""Medians with their 95 % intervals, by order statistics: no assumption about the spread."""

import math
import statistics


def median_interval(values):
    """(median, low, high): the interval covers the true median in at least 95 % of all cases.

    The number of samples below the true median is binomial with p = 1/2, which gives the ranks.
    Below 6 samples no interval reaches 95 %; then it is the smallest and the largest sample.
    """
    ordered = sorted(values)
    count = len(ordered)
    if count == 0:
        return (math.nan, math.nan, math.nan)
    rank, tail = 0, 0.0
    while True:
        tail += math.comb(count, rank) / 2**count
        if tail > 0.025 or rank >= count // 2:
            break
        rank += 1
    rank = max(rank, 1)
    return (statistics.median(ordered), ordered[rank - 1], ordered[count - rank])


def paired_ratios(ours, theirs):
    """Ratios of two {round: value}, for the rounds in which both were measured."""
    return [ours[key] / theirs[key] for key in sorted(ours.keys() & theirs.keys()) if theirs[key]]
