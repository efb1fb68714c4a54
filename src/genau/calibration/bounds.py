"""What n pictures allow to say of a rate: exact binomial bounds (Clopper and Pearson 1934).

n pictures, k of them with an alarm. The bound for a threshold that was itself set at an order statistic of the same
good scores is the same number: the rate above the (n - k)-th smallest of n is Beta(k + 1, n - k) distributed (Wilks
1941), whatever the distribution of the scores.
"""

import math

from scipy.special import betaincinv

from genau.errors import UsageError


def upper_bound(k: int, n: int, confidence: float) -> float:
    """Return the rate that is not exceeded with this confidence, given k of n; 1 where nothing is known."""
    return 1.0 if k >= n else float(betaincinv(k + 1, n - k, confidence))


def share_interval(k: int, n: int, confidence: float) -> tuple[float, float]:
    """Return low and high of the two-sided interval of a share, given k of n; (0, 1) where n is 0."""
    tail = (1 - confidence) / 2
    low = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, tail))
    return low, upper_bound(k, n, 1 - tail)


def good_needed(rate: float, confidence: float) -> int:
    """Return how many good pictures it takes until none of them alarming bounds the rate: (1 - rate)^n ≤ 1 - c.

    Raises:
        UsageError: rate or confidence is not between 0 and 1.
    """
    for name, value in (("rate", rate), ("confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(
                f"{name}={value} is not between 0 and 1. Use for example 0.01 as rate, 0.95 as confidence."
            )
    return math.ceil(math.log1p(-confidence) / math.log1p(-rate) - 1e-9)  # an exact whole number stays itself
