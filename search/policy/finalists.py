"""Who is trained again by a confirmation: the baseline, and the best setting of each level or the best settings."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.system.errors import UserError
from search.policy.confirmation import LevelRole, PlannedFinalist
from search.policy.history import runs_by_setting, setting, values_of_runs
from search.study.record import Stored
from search.study.space import distributions, factors, params_of, values_of
from search.study.study import Choice, Study, Subset, encode

BASELINE = "baseline"

Levels = tuple[int, ...]

Runs = list[FrozenTrial]
"""The complete trials of one setting, the first one first."""


def choose_finalists(trials: Sequence[FrozenTrial], stored: Stored, top: int, name: str) -> tuple[PlannedFinalist, ...]:
    """The baseline, the best setting of its level, and at most ``top`` others: by the mean of their complete runs.

    With scientific knobs the best setting of each level (of each combination of levels), the best levels first, then
    the next best settings. A level that is led by the baseline's own setting has the baseline to speak for it.
    Raises UserError when there is nothing but the baseline to train again.
    """
    study = stored.study
    base = params_of(study.space, study.baseline)
    parameters = distributions(study.space).keys()
    runs = runs_by_setting(trial for trial in trials if parameters <= trial.params.keys())
    ranked = sorted(runs.values(), key=lambda found: (-fmean(values_of_runs(found)), found[0].number))
    leaders = _leaders(study, ranked)
    others = _others(ranked, leaders, _levels(study, base), base, top)
    if not others:
        raise UserError(
            f"Study {name!r} has no complete trial but the baseline's, so there is nothing to confirm;"
            " give it more by `python -m search.run`."
        )
    known = runs.get(setting(base), [])
    names = (BASELINE, *_names(study, base, others))
    return tuple(
        PlannedFinalist(name, params, _numbers(one), _role(study, params, base, one, leaders))
        for name, params, one in zip(
            names, (base, *(dict(one[0].params) for one in others)), (known, *others), strict=True
        )
    )


def _leaders(study: Study, ranked: Sequence[Runs]) -> dict[Levels, Runs]:
    """The best setting of each level, the best levels first; none without scientific knobs."""
    leaders: dict[Levels, Runs] = {}
    for runs in ranked if study.scientific else ():
        leaders.setdefault(_levels(study, runs[0].params), runs)
    return leaders


def _levels(study: Study, params: Mapping[str, Any]) -> Levels:
    return tuple(factor.level(params) for factor in factors(study.scientific))


def _others(
    ranked: Sequence[Runs], leaders: Mapping[Levels, Runs], at: Levels, base: Mapping[str, Any], top: int
) -> list[Runs]:
    """The best setting of the baseline's level, unless that is the baseline; and ``top`` others, the leaders first.

    Without the former there would be nothing fair to compare the other levels with.
    """
    rest = [runs for runs in ranked if not any(runs is leader for leader in leaders.values())]
    found = [runs for runs in (*leaders.values(), *rest) if setting(runs[0].params) != setting(base)]
    reference = [runs for runs in found if runs is leaders.get(at)]
    return reference + [runs for runs in found if runs is not leaders.get(at)][:top]


def _role(
    study: Study, params: Mapping[str, Any], base: Mapping[str, Any], runs: Runs, leaders: Mapping[Levels, Runs]
) -> LevelRole:
    """Which level the setting speaks for. The baseline speaks for its own where nothing there is complete."""
    levels = _levels(study, params)
    leader = leaders.get(levels)
    if not study.scientific or (leader is not None and leader is not runs):
        return ""
    return "reference" if levels == _levels(study, base) else "other"


def _numbers(runs: Runs) -> tuple[int, ...]:
    return tuple(trial.number for trial in runs)


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
