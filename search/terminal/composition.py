"""The work of search.compose: choose the best team, compare it with the best single model, and write it to a file.

A team is a model for every factor of the label; one of three is a trio in what is printed, one of two a pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from maskcls.labels import ALL
from maskcls.model.composite import save_composed
from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, Selected, compare, interval, select
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.provenance import Origin
from maskcls.tasks.declared import task_to_json
from maskcls.tasks.task import METRICS
from search.answer.combinations import (
    Candidate,
    NamedStudy,
    Teams,
    check_same_photos,
    check_weights,
    find_candidates,
    find_single,
    find_singles,
    in_label_order,
)
from search.answer.format import (
    NOT_DISTINCT,
    SYNTHETIC,
    as_score,
    capital,
    describe_values,
    difference_words,
    power_words,
    score_words,
)
from search.database.connect import default_url
from search.study.request import options_of
from search.study.space import values_of
from search.system.shell import place_options, quoted

MAX_LOOKS, MIN_RESAMPLES = 60_000, 50
"""The correction may take this many teams times resamples, about ten seconds: many teams get fewer resamples, but not
fewer than the minimum."""

TEAM_OF = {2: "pair", 3: "trio"}
NUMBERS = {2: "two", 3: "three"}


@dataclass(frozen=True)
class Best:
    """The best of several models, or of several teams of models."""

    counts: Counts
    selected: Selected
    score: Estimate
    """Score on the groups that chose it."""
    candidates: int
    """Number of models or teams that it was chosen from."""


@dataclass(frozen=True)
class Gain:
    """The best team less the best single model, on the same groups."""

    measured: Estimate
    corrected: Estimate
    """Less the team's extra optimism from being chosen among more; the verdict rests on this."""


def compose(named: Sequence[NamedStudy], out: Path, against: str | None, storage: RDBStorage, runs: Path) -> None:
    """Write the best team to ``out``, and say what it gains. Raises UserError before anything is written.

    ``named``: a study for every factor of the label. ``against``: STUDY:TRIAL, the single model; None: the best one
    stored.
    """
    ordered = in_label_order(named, storage)
    teams = Teams({each.part: find_candidates(storage, each.study, each.part, runs, each.option) for each in ordered})
    like = next(iter(teams.candidates.values()))[0]
    singles = _singles(like, against, storage, runs)
    resamples = resample(teams[0])
    best = _best_of(teams, resamples)
    team = teams.team(best.selected.index)
    for model in team.values():
        check_weights(model)
    say(_headline(teams, resamples))
    if any(model.stored.study.synthetic for model in team.values()):
        say(f"  {SYNTHETIC}")
    _show_team(team, best)
    origin = _origin(team, best)
    if singles:
        single = _best_of([model.counts() for model in singles], resamples)
        model, gain = singles[single.selected.index], _gain(best, single, resamples)
        _show_gain(model, single, best, gain, TEAM_OF.get(len(team), "team"))
        value, low, high = gain.corrected.value, gain.corrected.low, gain.corrected.high
        origin["single"] = _facts(model, ALL)
        origin["gain"] = {"value": value, "low": low, "high": high, "verdict": gain.corrected.verdict}
    else:
        _show_no_single(like, runs, storage.url if storage.url != default_url(runs) else None)
    written, folder = save_composed(out, {part: model.folder for part, model in team.items()}, origin)
    say(f"{written}: the {NUMBERS.get(len(team), len(team))} models are in {folder}; keep both together")
    file = like.stored.task.predictions_file
    say(f"Next: python -m maskcls.predict --model {quoted(out)} --images DIR -o {file}")


def _singles(like: Candidate, against: str | None, storage: RDBStorage, runs: Path) -> list[Candidate]:
    if against is None:
        return find_singles(like, optuna.get_all_study_names(storage), storage, runs)
    single = find_single(against, like, storage, runs)
    check_same_photos(like, single)
    return [single]


def _best_of(models: Sequence[Counts], resamples: Resamples) -> Best:
    max_resamples = min(500, max(MIN_RESAMPLES, MAX_LOOKS // len(models)))
    selected = select(models, resamples, max_resamples=max_resamples)
    counts = models[selected.index]
    return Best(counts, selected, interval(counts, resamples), len(models))


def _gain(team: Best, single: Best, resamples: Resamples) -> Gain:
    """The gain, from which the team's surplus of optimism is taken: it was chosen among more than the single model."""
    measured = compare((team.counts,), (single.counts,), resamples)
    optimism = [best.selected.raw - best.selected.corrected for best in (team, single)]
    surplus = max(0.0, optimism[0] - optimism[1])
    low, value, high = (score - surplus for score in (measured.low, measured.value, measured.high))
    return Gain(measured, replace(measured, low=low, value=value, high=high))


def _headline(teams: Teams, resamples: Resamples) -> str:
    sizes = " x ".join(map(str, teams.shape))
    stored = next(iter(teams.candidates.values()))[0].stored
    kind, units = TEAM_OF.get(len(teams.shape), "team"), len(resamples.person_P)
    judges = f"{units} {stored.task.unit.noun(units)}"
    photos = f", {len(teams.label_N)} photos" if stored.task.has_groups else ""
    return f"The best of {len(teams)} {kind}s ({sizes}), judged by {judges}{photos} (split {stored.split}):"


def _show_team(team: Mapping[str, Candidate], best: Best) -> None:
    task = next(iter(team.values())).stored.task
    width = max(8, *(len(part) + 1 for part in team))
    for part, model in team.items():
        values = describe_values(values_of(model.stored.study.space, model.trial.params))
        score = f"{task.metric_words} of {part} {as_score(model.score(part))}"
        say(f"  {part:{width}s}{model.name}: {score}  {values}")
    say(f"  {f'all {task.space.num_classes}':{width}s}{_score(best)}")


def _score(best: Best) -> str:
    text = f"{METRICS[best.counts.metric]} {score_words(best.score)}"
    if best.candidates == 1:
        return text
    return f"{text}; {as_score(best.selected.corrected)} once corrected for being the best of {best.candidates}"


def _show_gain(model: Candidate, single: Best, best: Best, gain: Gain, kind: str) -> None:
    """``model``: the best single model, with the score ``single``; ``best``: the best team, a trio in ``kind``, say."""
    verdict, unit = gain.corrected.verdict, model.stored.task.unit
    verdict = verdict if verdict == NOT_DISTINCT else f"the {kind} is {verdict}"
    say(f"single    {model.name}: {_score(single)}")
    say(f"gain      {difference_words(gain.measured)} as measured")
    say(f"          {difference_words(gain.corrected)} once corrected: {verdict}")
    say(f"{capital(power_words(gain.corrected.minimum_detectable_effect))}; a smaller one is easily missed.")
    say(
        f"This is about trained models, not recipes, and the {kind} was chosen from {best.candidates} by the same"
        f" {unit.many} {unit.who} judge it here."
    )


def _show_no_single(like: Candidate, runs: Path, storage_url: str | None) -> None:
    stored = like.stored
    data = "" if stored.study.synthetic else f" --data {quoted(stored.data)}{options_of(stored)}"
    data += f" --people {stored.study.fixed['people']}" if stored.study.fixed["people"] else ""
    say(
        f"single    none: no complete trial of all {stored.task.space.num_classes} classes is stored for these photos,"
        " so the gain is unknown. Make"
        f" one: python -m search.run --study recipe --n-trials 20{data}{place_options(runs, storage_url)}"
    )


def _origin(team: Mapping[str, Candidate], best: Best) -> dict[str, Any]:
    stored = next(iter(team.values())).stored
    origin = Origin(
        made_by="search.compose",
        data=stored.data,
        split=stored.split,
        task=task_to_json(stored.task),
        value=best.selected.raw,
        corrected=best.selected.corrected,
        chosen_among=best.candidates,
    )
    return {**origin.to_json(), **{part: _facts(model, part) for part, model in team.items()}}


def _facts(model: Candidate, part: str) -> dict[str, Any]:
    return {"study": model.study, "trial": model.trial.number, model.stored.task.metric: model.score(part)}
