"""The configurations that a confirmation trains again: the baseline, and the best of each level or of all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.system.errors import UserError
from search.policy.confirmation import LevelRole, PlannedFinalist
from search.policy.history import Configuration, Runs, configuration_of, ranked_configurations
from search.policy.levels import Levels
from search.study.domains import encode
from search.study.record import Stored
from search.study.space import distributions, factors, params_of, values_of
from search.study.study import Choice, Study, Subset


def choose_finalists(trials: Sequence[FrozenTrial], stored: Stored, top: int, name: str) -> tuple[PlannedFinalist, ...]:
    """The baseline, the best configuration of its level, and at most ``top`` others.

    With scientific hyperparameters the others are the best configuration of each level (of each combination of
    levels), the best levels first, then the next best configurations. A level that is led by the baseline's own
    configuration is represented by the baseline. ``name``: the study's, for the message.
    Raises UserError if no other configuration than the baseline has a complete trial.
    """
    ranking = Ranking(stored.study, trials)
    others = ranking.best_beside_baseline(top)
    if not others:
        raise UserError(
            f"Study {name!r} has no complete trial but the baseline's, so there is nothing to confirm."
            " Run more trials by `python -m search.run`."
        )
    names = ("baseline", *_names(stored.study, ranking.baseline, others))
    return tuple(
        PlannedFinalist(label, candidate.params, tuple(run.number for run in candidate.runs), ranking.role(candidate))
        for label, candidate in zip(names, (ranking.baseline, *others), strict=True)
    )


@dataclass(frozen=True)
class Candidate:
    """A configuration that may be trained again."""

    params: dict[str, Any]
    runs: Runs
    """Its complete trials; the baseline may have none."""
    levels: Levels
    """Its level of each factor; empty in a study that compares none."""

    @property
    def configuration(self) -> Configuration:
        """Its parameters in the form that is compared."""
        return configuration_of(self.params)


class Ranking:
    """The configurations of a search by the mean of their complete runs, and which of them lead their levels."""

    def __init__(self, study: Study, trials: Iterable[FrozenTrial]) -> None:
        self._factors = factors(study.scientific)
        parameters = distributions(study.space).keys()
        # a trial that was added by hand may lack some
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
        """The leader of the baseline's level, unless that is the baseline, and the ``top`` others, leaders first.

        Without the former the other levels' leaders would be compared with an untuned baseline.
        """
        others = [candidate for candidate in self._ranked if candidate.configuration != self.baseline.configuration]
        reference = [candidate for candidate in others if self.role(candidate) == "reference"]
        rest = [candidate for candidate in others if self.role(candidate) != "reference"]
        rest.sort(key=lambda candidate: not self._leads(candidate))  # stable, so each part stays ranked
        return reference + rest[:top]

    def role(self, candidate: Candidate) -> LevelRole:
        """The level that the candidate represents. The baseline represents its own if nothing there is complete."""
        if not self._leads(candidate):
            return ""
        return "reference" if candidate.levels == self.baseline.levels else "other"

    def _leads(self, candidate: Candidate) -> bool:
        """Whether the candidate is the best of its level; False in a study that compares no levels."""
        configuration = candidate.configuration
        return bool(self._factors) and self._leaders.get(candidate.levels, configuration) == configuration


def _names(study: Study, baseline: Candidate, chosen: Sequence[Candidate]) -> list[str]:
    """The name of each: its levels, with its first trial if another one or the baseline has the same levels."""
    if not study.scientific:
        return [f"trial {candidate.runs[0].number}" for candidate in chosen]
    texts = [_levels_text(study, candidate.params) for candidate in chosen]
    all_texts = [*texts, _levels_text(study, baseline.params)]
    return [
        f"{text} (trial {candidate.runs[0].number})" if all_texts.count(text) > 1 else text
        for text, candidate in zip(texts, chosen, strict=True)
    ]


def _levels_text(study: Study, params: Mapping[str, Any]) -> str:
    """The levels as text: ``drop_rate = 0.7``, ``augment = flip+cutmix``, ``lr from 0.001 to 0.01``."""
    values = values_of(study.scientific, params)
    texts = []
    for name, domain in study.scientific.items():
        if isinstance(domain, Choice | Subset):
            texts.append(f"{name} = {encode(values[name])}")
        else:
            (factor,) = factors({name: domain})
            texts.append(factor.describe(factor.level(params)))
    return ", ".join(texts)
