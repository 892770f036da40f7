"""What a confirmation trains again: the baseline, and the best configuration of each level or the best of all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.system.errors import UserError
from search.policy.confirmation import LevelRole, PlannedFinalist
from search.policy.history import Configuration, Runs, configuration_of, ranked_configurations
from search.policy.levels import Levels
from search.study.hyperparameters import encode
from search.study.record import Stored
from search.study.space import distributions, factors, params_of, values_of
from search.study.study import Choice, Study, Subset

BASELINE = "baseline"


def choose_finalists(trials: Sequence[FrozenTrial], stored: Stored, top: int, name: str) -> tuple[PlannedFinalist, ...]:
    """The baseline, the best configuration of its level, and at most ``top`` others.

    With scientific hyperparameters the others are the best configuration of each level (of each combination of
    levels), the best levels first, then the next best configurations. A level that is led by the baseline's own
    configuration has the baseline to speak for it. ``name``: the study's, for the message.
    Raises UserError when there is nothing but the baseline to train again.
    """
    ranking = Ranking(stored.study, trials)
    others = ranking.best_beside_baseline(top)
    if not others:
        raise UserError(
            f"Study {name!r} has no complete trial but the baseline's, so there is nothing to confirm;"
            " give it more by `python -m search.run`."
        )
    names = (BASELINE, *_names(stored.study, ranking.baseline, others))
    return tuple(
        PlannedFinalist(called, found.params, tuple(run.number for run in found.runs), ranking.role(found))
        for called, found in zip(names, (ranking.baseline, *others), strict=True)
    )


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be trained again."""

    params: dict[str, Any]
    runs: Runs
    """Its complete trials; the baseline may have none."""
    levels: Levels
    """The combination of levels that it is at; empty in a study that compares none."""

    @property
    def configuration(self) -> Configuration:
        """What tells it from the others."""
        return configuration_of(self.params)


class Ranking:
    """The configurations of a search by the mean of their complete runs, and which of them lead their levels."""

    def __init__(self, study: Study, trials: Iterable[FrozenTrial]) -> None:
        self._factors = factors(study.scientific)
        parameters = distributions(study.space).keys()
        # a trial that somebody added by hand may lack some
        ranked = ranked_configurations(trial for trial in trials if parameters <= trial.params.keys())
        self._ranked = [self._candidate(runs[0].params, runs) for runs in ranked.values()]
        baseline = params_of(study.space, study.baseline)
        self.baseline = self._candidate(baseline, ranked.get(configuration_of(baseline), []))
        self._leaders: dict[Levels, Configuration] = {}
        for candidate in self._ranked:
            self._leaders.setdefault(candidate.levels, candidate.configuration)

    def _candidate(self, params: Mapping[str, Any], runs: Runs) -> Candidate:
        return Candidate(dict(params), runs, tuple(factor.level(params) for factor in self._factors))

    def best_beside_baseline(self, top: int) -> list[Candidate]:
        """The leader of the baseline's level, unless that is the baseline; and the ``top`` others, leaders first.

        Without the former there would be nothing fair to compare the other levels with.
        """
        found = [one for one in self._ranked if one.configuration != self.baseline.configuration]
        reference = [one for one in found if self.role(one) == "reference"]
        rest = [one for one in found if self.role(one) != "reference"]
        return reference + sorted(rest, key=lambda one: not self._leads(one))[:top]  # stable: by rank among each

    def role(self, candidate: Candidate) -> LevelRole:
        """Which level the candidate speaks for. The baseline speaks for its own where nothing there is complete."""
        if not self._leads(candidate):
            return ""
        return "reference" if candidate.levels == self.baseline.levels else "other"

    def _leads(self, candidate: Candidate) -> bool:
        """Whether none of its level is better; never in a study that compares no levels."""
        configuration = candidate.configuration
        return bool(self._factors) and self._leaders.get(candidate.levels, configuration) == configuration


def _names(study: Study, baseline: Candidate, chosen: Sequence[Candidate]) -> list[str]:
    """What each is called: by its levels, with its first trial where another or the baseline has these too."""
    if not study.scientific:
        return [f"trial {found.runs[0].number}" for found in chosen]
    texts = [_levels_text(study, found.params) for found in chosen]
    taken = [*texts, _levels_text(study, baseline.params)]
    return [
        f"{text} (trial {found.runs[0].number})" if taken.count(text) > 1 else text
        for text, found in zip(texts, chosen, strict=True)
    ]


def _levels_text(study: Study, params: Mapping[str, Any]) -> str:
    """``drop_rate = 0.7``, ``augment = flip+cutmix``, ``lr from 0.001 to 0.01``."""
    values = values_of(study.scientific, params)
    texts = []
    for name, domain in study.scientific.items():
        if isinstance(domain, Choice | Subset):
            texts.append(f"{name} = {encode(values[name])}")
        else:
            (factor,) = factors({name: domain})
            texts.append(factor.describe(factor.level(params)))
    return ", ".join(texts)
