"""What many workers at once are worth to the search of a study, as its plan says it."""

from search.policy.phases import Phases
from search.policy.policy import STARTUP_TRIALS

MANY = 0.5
"""Workers are many where less than this share of the proposals that one worker would make from results is left."""


def num_informed(found: Phases, workers: int) -> int:
    """How many trials of a new study's search are proposed from results, when so many train at once.

    A proposal needs STARTUP_TRIALS that have ended; all that run besides have not. The others are warm starts, and
    points that fill the space: where no proposal is left the search is a random one (benchmarks/parallel.py and its
    table in benchmarks/README.md: on LCBench, with 50 trials and as many workers).
    """
    return max(0, min(found.search, found.first + found.search - STARTUP_TRIALS - (workers - 1)))


def most_workers(found: Phases) -> int:
    """The largest number of workers that are not MANY for this search."""
    alone = num_informed(found, 1)
    return max(workers for workers in range(1, alone + 2) if num_informed(found, workers) >= MANY * alone)


def describe_many(found: Phases, workers: int) -> list[str]:
    """That the workers are many for the search of a new study, and what they are good for instead; else no line."""
    alone, left = num_informed(found, 1), num_informed(found, workers)
    if left >= MANY * alone:
        return []
    most = most_workers(found)
    fewer = f"; with {most} it would be {num_informed(found, most)}"
    told = f"{left} of {found.search} trials of the search are proposed from results"
    if not left:
        told = f"none of {found.search} trials of the search is proposed from results, as in random search"
    return [
        f"{workers} workers are many: {told}{fewer}",
        "more GPUs are of use to another study beside it, or to search.confirm, whose trainings wait for no result",
    ]
