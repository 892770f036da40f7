"""Which soups, means of several models' weights, are tried, and what the best of them promises on other people.

The greedy choice (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482) begins with the best model; each of the
others joins, the best first, if that does not lower the score. The mean of all models is tried too. The same people
say which model is better, who joins, and which soup is the best; so all of it is done anew in every resample, in which
other soups are tried. Each of those has to be made and run over the photos, so their number is limited.

Shape suffixes: P people, T models, S resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from maskcls.scoring.counts import Counts, Floats
from maskcls.scoring.intervals import correct
from maskcls.scoring.metrics import SCORE_TOLERANCE
from maskcls.scoring.resampling import Resamples

Models = tuple[int, ...]
"""Numbers of the models in a soup, ascending."""

MAX_RESAMPLES, MAX_SOUPS, MIN_RESAMPLES = 500, 60, 25
"""Resamples in which the choice is done anew, unless they need more than MAX_SOUPS soups; MIN_RESAMPLES are done in any
case, which takes no more than all subsets of the models. Six models or fewer have fewer subsets than MAX_SOUPS."""


def tried_soups(value_T: Floats, value_of: Callable[[Models], float]) -> list[Models]:
    """The soups that are tried, in their order. ``value_T``: each model's own score; ``value_of``: a soup's."""
    first, *others = sorted(range(len(value_T)), key=lambda number: (-value_T[number], number))
    inside: Models = (first,)
    value, tried = float(value_T[first]), []
    for number in others:
        tried.append(tuple(sorted((*inside, number))))
        with_it = value_of(tried[-1])
        if with_it >= value - SCORE_TOLERANCE:
            inside, value = tried[-1], with_it
    everything = tuple(range(len(value_T)))
    return tried if everything in tried else [*tried, everything]


@dataclass
class SoupProcedure:
    """The choice of the best soup as an intervals.Procedure."""

    singles: Sequence[Counts]
    """Of each model alone."""
    make: Callable[[Models], Counts]
    """Makes a soup and lets it predict; called once for each."""
    made: dict[Models, Counts] = field(default_factory=dict)

    def affordable(self, drawn_SP: Floats, most: int = MAX_SOUPS, least: int = MIN_RESAMPLES) -> int:
        """How many of the first resamples can be done, with ``most`` more soups; makes the soups of those."""
        limit = len(self.made) + most
        scores = _Scores(self, drawn_SP)
        for row in range(len(drawn_SP)):
            if row >= least and len(self.made) >= limit:
                return row
            scores.tried(row)
        return len(drawn_SP)

    def __call__(self, drawn_SP: Floats, left_out_SP: Floats) -> Floats:
        """The scores [S] on the people left out of the soups that are the best for the people drawn."""
        drawn, left_out = _Scores(self, drawn_SP), _Scores(self, left_out_SP)
        return np.array([left_out.of(drawn.best(row))[row] for row in range(len(drawn_SP))])

    def counts(self, soup: Models) -> Counts:
        """The soup's counts; it is made if it was not."""
        if soup not in self.made:
            self.made[soup] = self.make(soup)
        return self.made[soup]


class _Scores:
    """The scores of models and soups on people of some weights, each computed when it is asked for."""

    def __init__(self, procedure: SoupProcedure, weight_SP: Floats) -> None:
        self._procedure, self._weight_SP = procedure, weight_SP
        self._single_ST = np.stack([self._score(counts) for counts in procedure.singles], axis=1)
        self._score_of: dict[Models, Floats] = {}

    def _score(self, counts: Counts) -> Floats:
        return counts.score(*counts.sums(self._weight_SP))

    def of(self, soup: Models) -> Floats:
        """The soup's scores [S]."""
        if soup not in self._score_of:
            self._score_of[soup] = self._score(self._procedure.counts(soup))
        return self._score_of[soup]

    def tried(self, row: int) -> list[Models]:
        """The soups that are tried by the people of a row; all of them are made."""
        tried = tried_soups(self._single_ST[row], lambda soup: float(self.of(soup)[row]))
        for soup in tried:
            self.of(soup)
        return tried

    def best(self, row: int) -> Models:
        """The soup that the people of a row choose, the first of equals."""
        return max(self.tried(row), key=lambda soup: float(self.of(soup)[row]))


def correct_soup(raw: float, procedure: SoupProcedure, resamples: Resamples) -> tuple[float, int]:
    """(the expected score on other people of the best soup, which scores ``raw`` on these; the resamples used for it).

    The models may be the best of more, since only their weights were kept. That choice cannot be done anew, as soups of
    the others cannot be made; a mean of weights keeps little of a model's luck (benchmarks/README.md).
    """
    rows = procedure.affordable(resamples.weight_SP[:MAX_RESAMPLES])
    return correct(raw, procedure, procedure.singles, resamples, max_resamples=rows), rows
