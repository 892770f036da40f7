"""Who is trained again by a confirmation: the baseline, and the best setting of each level or the best settings."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.errors import UserError
from search.replicates import runs_by_setting, setting, values_of_runs
from search.rounds import Candidate
from search.space import distributions, factors, params_of, values_of
from search.stored import Stored
from search.study import Choice, Study, Subset, encode

BASELINE = "baseline"

Runs = list[FrozenTrial]
"""The complete trials of one setting, the first one first."""


def choose(trials: Sequence[FrozenTrial], stored: Stored, top: int, name: str) -> tuple[Candidate, ...]:
    """The baseline, and at most ``top`` others: by the mean of their complete runs.

    With scientific knobs the best setting of each level (of each combination of levels), the best levels first, then
    the next best settings. A level that is led by the baseline's own setting has the baseline to speak for it.
    Raises UserError when there is nothing but the baseline to train again.
    """
    study = stored.study
    base = params_of(study.space, study.baseline)
    parameters = distributions(study.space).keys()
    runs = runs_by_setting(trial for trial in trials if parameters <= trial.params.keys())
    ranked = sorted(runs.values(), key=lambda found: (-fmean(values_of_runs(found)), found[0].number))
    others = [found for found in _level_by_level(study, ranked) if setting(found[0].params) != setting(base)][:top]
    if not others:
        raise UserError(
            f"Study {name!r} has no complete trial but the baseline's, so there is nothing to confirm;"
            " give it more by `python -m search.run`."
        )
    known = tuple(trial.number for trial in runs.get(setting(base), []))
    names = _names(study, base, others)
    found = [Candidate(name, dict(one[0].params), _numbers(one)) for name, one in zip(names, others, strict=True)]
    return (Candidate(BASELINE, base, known), *found)


def _numbers(runs: Runs) -> tuple[int, ...]:
    return tuple(trial.number for trial in runs)


def _level_by_level(study: Study, ranked: Sequence[Runs]) -> list[Runs]:
    """The first of each level, then the others; each in their order."""
    seen, first, rest = set(), [], []
    for runs in ranked:
        levels = tuple(factor.level(runs[0].params) for factor in factors(study.scientific))
        if levels in seen or not study.scientific:
            rest.append(runs)
        else:
            first.append(runs)
        seen.add(levels)
    return first + rest


def _names(study: Study, base: Mapping[str, Any], chosen: Sequence[Runs]) -> list[str]:
    """What each is called: by its level, with its first trial where it shares that with another or the baseline."""
    if not study.scientific:
        return [f"trial {runs[0].number}" for runs in chosen]
    levels = [_level_text(study, runs[0].params) for runs in chosen]
    taken = [*levels, _level_text(study, base)]
    return [
        f"{level} (trial {runs[0].number})" if taken.count(level) > 1 else level
        for level, runs in zip(levels, chosen, strict=True)
    ]


def _level_text(study: Study, params: Mapping[str, Any]) -> str:
    """``drop_rate = 0.7``, ``augment = flip+cutmix``, ``lr from 0.001 to 0.01``."""
    values = values_of(study.scientific, params)
    texts = []
    for name, knob in study.scientific.items():
        if isinstance(knob, Choice | Subset):
            texts.append(f"{name} = {encode(values[name])}")
        else:
            (factor,) = factors({name: knob})
            texts.append(factor.describe(factor.level(params)))
    return ", ".join(texts)
