"""Is a task late against the others of its run, so that an idle host should try it, too?

Times of one program over its settings spread like a lognormal, so what is learned is the mean and
the mean deviation of their logarithms: the first stands for the median, and neither is moved much by
one that hangs.
"""

from __future__ import annotations

import math

from corral.model.base import Frozen

LEARN = 0.1  # weight of a new success, once there are more than ten
ENOUGH = 5  # successes, before anybody is called late
TIMES = 3.0  # the median
DEVIATIONS = 4.0  # of the logarithm above its mean; 99 of 100 honest tasks are below
LEAST_DEVIATION = 0.1  # equal tasks: a tenth of the time
FLOOR_S = 1.0  # beyond the median: what a twin costs to get going
SLOW = 1.5  # times the run's median: a host that takes so long gets no twins
SHORTEST_S = 0.001  # times are told in milliseconds
MOST_TWINS = 2  # of a task: one that is simply long does not get twin after twin


class Learned(Frozen, frozen=True, kw_only=True):
    """What the successes of a run taught of its tasks' times."""

    successes: int = 0
    typical_s: float | None = None  # running mean of seconds
    log_mean: float = 0.0  # of the seconds' natural logarithm
    log_deviation: float = 0.0  # mean distance from it

    @property
    def median_s(self) -> float:
        """Guess the median time."""
        return math.exp(self.log_mean)

    def plus(self, seconds: float) -> Learned:
        """Fold in another success."""
        successes = self.successes + 1
        weight = max(LEARN, 1 / successes)
        typical_s = seconds if self.typical_s is None else self.typical_s
        log = math.log(max(seconds, SHORTEST_S))
        log_mean = self.log_mean + weight * (log - self.log_mean)
        distance = abs(log - log_mean)
        return Learned(
            successes=successes,
            typical_s=typical_s + weight * (seconds - typical_s),
            log_mean=log_mean,
            log_deviation=self.log_deviation + weight * (distance - self.log_deviation),
        )


def late_after_s(learned: Learned) -> float | None:
    """Say how long a task may run before it is late; None while too little is known."""
    if learned.successes < ENOUGH:
        return None
    spread = DEVIATIONS * max(LEAST_DEVIATION, learned.log_deviation)
    return max(
        TIMES * learned.median_s,
        math.exp(learned.log_mean + spread),
        learned.median_s + FLOOR_S,
    )


def may_help(learned: Learned, *, host_log_mean: float | None) -> bool:
    """Say whether a host is fast enough to give a twin to; a new one may be."""
    if host_log_mean is None:
        return True
    return host_log_mean <= learned.log_mean + math.log(SLOW)
