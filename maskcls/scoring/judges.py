"""The people who judge the trainings of rounds, and what they make of each.

Shape suffixes: S resamples, P people.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskcls.scoring.counts import Counts, Floats
from maskcls.scoring.intervals import UPWEIGHT
from maskcls.scoring.resampling import RESAMPLES, Resamples, resample


@dataclass(frozen=True, eq=False)
class Training:
    """A training of a round."""

    level: str
    round: int
    counts: Counts
    """Its predictions of the people who judged it."""


@dataclass(frozen=True)
class Judged:
    """A training as its judges see it."""

    value: float
    drawn_S: Floats
    """Its score on the resampled people."""
    influence_P: Floats
    """Influence of each of all people so far, by number; 0 for those who did not judge it."""


class Judges:
    """The people who judge a study's trainings, crowd by crowd, resampled once for all.

    Whoever judges in two rounds is one person in both. A study with more rounds has the same resamples of the people of
    the earlier ones, so what is known of a training is computed once.
    """

    def __init__(self, resamples: int = RESAMPLES) -> None:
        self._resamples = resamples
        self._number_of: dict[str, int] = {}
        self._weight_SP: list[Floats] = []
        self._stratum_P: list[NDArray[np.int64]] = []
        self._crowds: dict[str, NDArray[np.int64]] = {}
        """Names of a crowd -> the numbers of its people."""
        self._last: tuple[str, Floats] | None = None
        """The names of the crowd that judged last, and their weights in the resamples."""
        self._judged: dict[int, tuple[Training, Judged]] = {}

    @property
    def people(self) -> Resamples:
        """All people who have judged so far, in the order in which they came."""
        return Resamples(np.array(list(self._number_of)), self.stratum_P, np.hstack(self._weight_SP))

    @property
    def stratum_P(self) -> NDArray[np.int64]:
        """Number of everyone's stratum, from 0, in the order in which they came."""
        return np.concatenate(self._stratum_P)

    def judge(self, training: Training) -> Judged:
        """What the people make of a training."""
        if id(training) not in self._judged:
            self._judged[id(training)] = (training, self._judge(training.counts))
        return self._judged[id(training)][1]

    def _judge(self, counts: Counts) -> Judged:
        names = "\n".join(counts.person_P)
        if names not in self._crowds:
            self._crowds[names] = self._admit(counts)
        number_P = self._crowds[names]
        if self._last is None or self._last[0] != names:
            self._last = names, self._weights(number_P)
        weight_SP = self._last[1]
        value = float(counts.score(*counts.sums()))
        nudged_P = counts.nudged_score(counts.score, np.ones(len(number_P)), UPWEIGHT)
        influence_P = np.zeros(len(self._number_of))
        influence_P[number_P] = (nudged_P - value) / UPWEIGHT
        return Judged(value, counts.score(*counts.sums(weight_SP)), influence_P)

    def _weights(self, number_P: NDArray[np.int64]) -> Floats:
        """The weights of a crowd in the resamples: columns of all people's, who are too many to put side by side."""
        weight_SP = np.empty((self._resamples, len(number_P)), order="F")
        start = 0
        for block_SP in self._weight_SP:
            here_P = np.flatnonzero((start <= number_P) & (number_P < start + block_SP.shape[1]))
            weight_SP[:, here_P] = block_SP[:, number_P[here_P] - start]
            start += block_SP.shape[1]
        return weight_SP

    def _admit(self, counts: Counts) -> NDArray[np.int64]:
        """The numbers of a crowd's people; those who are new are resampled among themselves."""
        is_new_P = np.array([person not in self._number_of for person in counts.person_P.tolist()])
        if is_new_P.any():
            new = counts.of_people(is_new_P)
            drawn = resample(new, len(self._crowds), self._resamples)
            strata = sum(int(stratum_P.max()) + 1 for stratum_P in self._stratum_P[-1:])
            self._weight_SP.append(drawn.weight_SP)
            self._stratum_P.append(drawn.stratum_P + strata)
            for person in new.person_P.tolist():
                self._number_of[person] = len(self._number_of)
        return np.array([self._number_of[person] for person in counts.person_P.tolist()])
