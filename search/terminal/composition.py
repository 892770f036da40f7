"""What search.compose does: the best trio, what it is worth beside a single model, the file, and all of it in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from maskcls.labels import PARTS
from maskcls.model.composite import save_composed
from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, Selected, compare, interval, select
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.provenance import Origin
from search.answer.combinations import (
    Candidate,
    Trios,
    candidates,
    check_same_photos,
    check_weights,
    find_single,
    find_singles,
)
from search.answer.format import describe_values
from search.answer.wording import difference
from search.database.connect import default_url
from search.study.space import values_of
from search.system.shell import place_words, quoted

MOST_LOOKS = 60_000
"""Trios times resamples for the correction, about ten seconds; beyond it the resamples get fewer, but at least:"""

FEWEST_RESAMPLES = 50


@dataclass(frozen=True)
class Found:
    """The best of several models."""

    counts: Counts
    selected: Selected
    score: Estimate
    """As measured, by the people who chose it."""
    candidates: int


@dataclass(frozen=True)
class Gain:
    """The best trio less the best single model, on the same people."""

    measured: Estimate
    fair: Estimate
    """Less what the trio owes to having been chosen among more; the verdict rests on this."""


def compose(studies: Mapping[str, str], out: Path, against: str | None, storage: RDBStorage, runs: Path) -> None:
    """Choose, compare, write, say. ``studies``: part -> stored name. Raises UserError before anything is written."""
    trios = Trios({part: candidates(storage, studies[part], part, runs) for part in PARTS})
    first = trios.members[PARTS[0]][0]
    singles = _singles(first, against, storage, runs)
    resamples = resample(trios[0])
    best = _best_of(trios, resamples)
    trio = trios.trio(best.selected.index)
    for one in trio.values():
        check_weights(one)
    say(_headline(trios, resamples))
    if any(one.stored.study.synthetic for one in trio.values()):
        say("  SYNTHETIC PHOTOS: says nothing about faces.")
    _show_members(trio, best)
    single = _best_of([one.counts() for one in singles], resamples) if singles else None
    gain = None
    if single is None:
        _say_there_is_no_single(first, runs, storage.url if storage.url != default_url(runs) else None)
    else:
        gain = _gain(best, single, resamples)
        _show_gain(singles[single.selected.index], single, best, gain)
    origin = _origin(trio, best)
    if single is not None and gain is not None:
        origin["single"] = _facts(singles[single.selected.index], "all")
        origin["gain"] = {"value": gain.fair.value, "low": gain.fair.low, "high": gain.fair.high}
        origin["gain"]["verdict"] = gain.fair.verdict
    written, home = save_composed(out, {part: one.folder for part, one in trio.items()}, origin)
    say(f"{written}: the three models lie in {home}; keep both together")
    say(f"Next: python -m maskcls.predict --model {quoted(out)} --images DIR -o submission.csv")


def _singles(first: Candidate, against: str | None, storage: RDBStorage, runs: Path) -> list[Candidate]:
    if against is None:
        return find_singles(first, optuna.get_all_study_names(storage), storage, runs)
    single = find_single(against, storage, runs)
    check_same_photos(first, single)
    return [single]


def _best_of(models: Sequence[Counts], resamples: Resamples) -> Found:
    most = max(FEWEST_RESAMPLES, MOST_LOOKS // len(models))
    selected = select(models, resamples, most=min(500, most))
    counts = models[selected.index]
    return Found(counts, selected, interval(counts, resamples), len(models))


def _gain(trio: Found, single: Found, resamples: Resamples) -> Gain:
    """Both are flattered by having been chosen, the trio usually more: its surplus is taken off the difference."""
    measured = compare((trio.counts,), (single.counts,), resamples)
    luck = [found.selected.raw - found.selected.corrected for found in (trio, single)]
    surplus = max(0.0, luck[0] - luck[1])
    low, value, high = (number - surplus for number in (measured.low, measured.value, measured.high))
    return Gain(measured, replace(measured, low=low, value=value, high=high))


def _headline(trios: Trios, resamples: Resamples) -> str:
    sizes = " x ".join(map(str, trios.shape))
    split = trios.members[PARTS[0]][0].stored.split
    people, photos = len(resamples.person_P), len(trios.label_N)
    return f"The best of {len(trios)} trios ({sizes}), judged by {people} people, {photos} photos (split {split}):"


def _show_members(trio: Mapping[str, Candidate], best: Found) -> None:
    for part, one in trio.items():
        values = describe_values(values_of(one.stored.study.space, one.trial.params))
        say(f"  {part:8s}{one.name}: macro F1 of {part} {one.macro_f1(part):.4f}  {values}")
    say(f"  all 18  {_score(best)}")


def _score(found: Found) -> str:
    score = found.score
    text = f"macro F1 {score.value:.4f} (95 % interval {score.low:.3f} to {score.high:.3f})"
    if found.candidates == 1:
        return text
    return f"{text}; {found.selected.corrected:.4f} once corrected for being the best of {found.candidates}"


def _show_gain(one: Candidate, single: Found, best: Found, gain: Gain) -> None:
    verdict = {"better": "the trio is better", "worse": "the trio is worse"}.get(gain.fair.verdict, gain.fair.verdict)
    say(f"single    {one.name}: {_score(single)}")
    say(f"gain      {difference(gain.measured)} as measured")
    say(f"          {difference(gain.fair)} once corrected: {verdict}")
    say(f"A difference of {gain.fair.detectable:.3f} would be seen four times in five; a smaller one easily is not.")
    say(
        "Both are single trained models, not recipes, and the trio was chosen among"
        f" {best.candidates} by the same people who judge it here."
    )


def _say_there_is_no_single(first: Candidate, runs: Path, storage_url: str | None) -> None:
    stored = first.stored
    data = "" if stored.study.synthetic else f" --data {quoted(stored.data)}"
    data += f" --people {stored.study.fixed['people']}" if stored.study.fixed["people"] else ""
    say(
        "single    none: no complete trial with all 18 classes is stored for these photos, so the gain is unknown. Make"
        f" one: python -m search.run --study recipe --n-trials 20{data}{place_words(runs, storage_url)}"
    )


def _origin(trio: Mapping[str, Candidate], best: Found) -> dict[str, Any]:
    stored = trio[PARTS[0]].stored
    origin = Origin(
        made_by="search.compose",
        data=stored.data,
        split=stored.split,
        value=best.selected.raw,
        corrected=best.selected.corrected,
        chosen_among=best.candidates,
    )
    return {**origin.to_json(), **{part: _facts(one, part) for part, one in trio.items()}}


def _facts(one: Candidate, part: str) -> dict[str, Any]:
    return {"study": one.study, "trial": one.trial.number, "macro_f1": one.macro_f1(part)}
