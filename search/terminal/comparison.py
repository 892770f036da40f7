"""What search.compare shows: the difference, its evidence, and the parts and classes that it comes from."""

import numpy as np

from maskcls.scoring.condensed import NAME_COLUMNS, extremes, extremes_note
from maskcls.scoring.counts import Floats
from maskcls.scoring.intervals import Estimate, compare, compare_classes, interval
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.printable import shortened
from search.answer.format import (
    NOT_DISTINCT,
    as_score,
    capital,
    difference_words,
    has_interval,
    power_words,
    score_words,
    verdict_on,
)
from search.findings.models import ComparedModel, check_comparable, digest
from search.system.shell import quoted


def show_comparison(ours: ComparedModel, theirs: ComparedModel, prior: str | None, place: str = "") -> None:
    """Print scores, difference and verdict, as a whole and by part and class; with ``prior`` (--prior) re-weighted too.

    ``place``: the options of a printed command that say where the studies are (shell.place_options).

    Raises UserError when the two cannot be compared.
    """
    check_comparable(ours, theirs)
    weight_P = None if prior is None else _weights(ours, prior)
    resamples = resample(ours.counts())
    for letter, model in (("A", ours), ("B", theirs)):
        say(f"{letter}  {ours.task.metric_words} {score_words(interval(model.counts(), resamples))}  {model.name}")
    difference = compare((ours.counts(),), (theirs.counts(),), resamples)
    judges = f"{len(resamples.person_P)} {ours.task.unit.many}"
    photos = f", {len(ours.predictions.label_N)} photos" if ours.task.has_groups else ""
    say()
    say(f"A - B  {difference_words(difference)}, {judges}{photos}")
    say(f"{_verdict_sentence(difference)} This is about these two trained models, judged by the same {judges}.")
    if has_interval(difference):
        say(f"{capital(power_words(difference.minimum_detectable_effect))}.")
    _show_recipes(ours, theirs, place)
    _show_parts(ours, theirs, resamples)
    _show_classes(ours, theirs, resamples)
    if prior is not None and weight_P is not None:
        _show_prior(ours, theirs, resamples, prior, weight_P)


def _verdict_sentence(difference: Estimate) -> str:
    verdict = verdict_on(difference)
    return f"A and B are {verdict}." if verdict == NOT_DISTINCT else f"A is {verdict} than B."


def _show_recipes(ours: ComparedModel, theirs: ComparedModel, place: str) -> None:
    """What is known of the recipes: what the rounds say that both models were trained in, else nothing."""
    unfinished = [f"{letter} {model.unfinished}" for letter, model in (("A", ours), ("B", theirs)) if model.unfinished]
    confirms = ours.confirms or theirs.confirms
    if unfinished:
        say(f"{' and '.join(unfinished)}; this says nothing about the recipes.")
    elif confirms:
        say(
            "In a confirmation every repeat has its own judges, so its trials are compared as models only."
            " search.confirm compares the recipes"
            f" (python -m search.confirm --study {quoted(confirms)}{_of_team(ours, theirs)}{place})."
        )
    elif _is_one_recipe(ours, theirs):
        say("Both are runs of one recipe: the difference between them is chance.")
    elif ours.study and ours.study == theirs.study and ours.rounds_say:
        say(f"Of the recipes the rounds of {ours.study} say: {ours.rounds_say}")
    else:
        say("It says nothing about the recipes: other seeds may turn it round. Rounds of fresh trainings compare them.")


def _of_team(ours: ComparedModel, theirs: ComparedModel) -> str:
    """The option of search.confirm for a trial of a team's confirmation."""
    return " --ensemble FILE" if ours.confirms_team or theirs.confirms_team else ""


def _is_one_recipe(ours: ComparedModel, theirs: ComparedModel) -> bool:
    """Whether the two differ at most in the training seed; also where one is of a copy of the other's study."""
    our_runs, their_runs = (
        set(map(digest, model.runs.get(model.configuration, (model.predictions,)))) for model in (ours, theirs)
    )
    return ours.configuration == theirs.configuration or not our_runs.isdisjoint(their_runs)


def _show_parts(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    parts = ours.space.parts
    if not parts:
        return
    say()
    by = _measured_by(ours, ours.task.metric_words)
    say(f"By part{by}, with intervals widened so that all {len(parts)} hold at once in 95 of 100 studies:")
    for part in parts:
        difference = compare((ours.counts(part),), (theirs.counts(part),), resamples, comparisons=len(parts))
        say(f"  {part:32s} {difference_words(difference)}  {verdict_on(difference)}")


def _measured_by(model: ComparedModel, what: str) -> str:
    """`` (F1)`` where it is not the model's own metric that classes and parts are compared by."""
    return "" if model.task.metric == "macro_f1" else f" ({what})"


def _show_classes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    """The classes that differ beyond noise, by intervals that hold for all classes at once."""
    names = ours.space.names
    estimates = compare_classes((ours.counts(),), (theirs.counts(),), resamples, comparisons=len(names))
    differences = list(zip(names, estimates, strict=True))
    say()
    by = _measured_by(ours, "F1")
    say(f"By class{by}, with intervals widened so that all {len(names)} hold at once in 95 of 100 studies:")
    beyond = [(name, difference) for name, difference in differences if verdict_on(difference) != NOT_DISTINCT]
    if note := extremes_note(len(beyond), "most in favour of A", "most in favour of B"):
        say(f"{note}:")
    beyond.sort(key=lambda row: row[1].value)
    for index in sorted(extremes(np.array([difference.value for _, difference in beyond])).tolist()):
        name, difference = beyond[index]
        say(f"  {shortened(name, NAME_COLUMNS):32s} {difference_words(difference)}  {verdict_on(difference)}")
    rest = f"The other {len(names) - len(beyond)} of {len(names)} classes do not differ"
    say(f"{rest if beyond else 'No class differs'} beyond noise.")


def _weights(ours: ComparedModel, prior: str) -> Floats:
    """Weights of the groups by --prior. Raises UserError for an invalid one, and where their classes are not known."""
    from maskcls.scoring.reweighting import check_predicts_groups, groups_of, parse_prior, weights_of

    shares = parse_prior(prior, ours.task)
    check_predicts_groups(ours.space, ours.task)
    return weights_of(shares, groups_of(ours.predictions.person_N, ours.predictions.label_N, ours.task))


def _show_prior(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, prior: str, weight_P: Floats) -> None:
    difference = compare((ours.counts(),), (theirs.counts(),), resamples, weight_P=weight_P)
    a, b = (as_score(compare((model.counts(),), (), resamples, weight_P=weight_P).value) for model in (ours, theirs))
    say()
    say(f"With {prior}: A {a}, B {b}, A - B {difference_words(difference)}: {verdict_on(difference)}.")
