"""The summary at the end of search.run: levels, best trial and baseline, the answer, and what to type next."""

from contextlib import suppress
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial

from maskcls.labels import PARTS
from maskcls.system.console import say
from search.answer.answer import Answer, FactorAnswer, Winner
from search.answer.evidence import answer_of
from search.answer.format import PLAIN_NONE, as_score, describe_values, difference_words, duration, parts, score_cell
from search.answer.notes import show_study
from search.answer.wording import chosen_from, decisive, left_out_sentences, verdict_of
from search.database.connect import default_url
from search.policy.history import best_trial, incumbent, savings, values_of_runs
from search.policy.stopping import FINISHED
from search.study.attributes import baseline_among, part_f1
from search.study.record import Stored
from search.study.space import values_of
from search.system.shell import place_options, quoted, storage_option
from search.system.storage_url import STORAGE_VARIABLE, url_to_type


def show_search_summary(study: optuna.Study, stored: Stored, runs: Path, storage_url: str | None) -> None:
    """Print the summary, and put the answer into the study's note in the dashboard."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    best = best_trial(trials)
    if best is None:
        say("No trial is complete yet.")
        return
    answer = answer_of(study, stored, runs)
    for factor in answer.factors:
        _show_factor(factor)
    _show_trial("best", best, stored)
    leading = incumbent(trials)
    if len(leading) > 1:
        values = describe_values(values_of(stored.study.space, leading[0].params))
        mean = fmean(values_of_runs(leading))
        say(f"leads     mean of {len(leading)} runs: macro F1 {as_score(mean)}  {values}")
    baseline = baseline_among(trials)
    if baseline is not None and baseline.number != best.number:
        _show_trial("baseline", baseline, stored)
    if answer.noise is not None:
        say(f"noise     {answer.noise.describe()}")
    if answer.winner is not None:
        _show_winner(answer, answer.winner)
    for sentence in left_out_sentences(answer):
        say(sentence)
    _show_pruning(trials)
    say()
    for sentence in answer.sentences:
        say(sentence)
    say()
    with suppress(optuna.exceptions.StorageInternalError):  # a full disk ended the study, and its error says so
        show_study(study, stored, " ".join(answer.sentences))
    _show_next(study.study_name, runs, storage_url)


def _show_winner(answer: Answer, winner: Winner) -> None:
    """The best trial's expected score and its difference from the baseline, which are never the answer."""
    say(
        f"chosen    from {chosen_from(answer, winner)} by the people who judge it; expect macro F1"
        f" {as_score(winner.corrected)} on other people"
    )
    against = winner.against_baseline
    if against is not None:
        say(f"          compared with the baseline {difference_words(decisive(against))}: {verdict_of(against)}")


def _show_factor(factor: FactorAnswer) -> None:
    """Each level's best score, number of trials, and difference from the reference."""
    reference = factor.levels[factor.reference]
    say(f"{factor.param}: each level at its best, with 95 % intervals")
    for level in factor.levels:
        score = as_score(level.best, PLAIN_NONE) if level.score is None else score_cell(level.score, 3, PLAIN_NONE)
        difference = "the reference" if level is reference else ""
        if level.against is not None:
            difference = f"{difference_words(decisive(level.against))}: {verdict_of(level.against)}"
        elif level.left_out:
            difference = "not compared: no usable predictions"
        counts = f"{level.complete} complete, {level.pruned} pruned"
        say(f"  {level.text:28s} {score:23s}  {counts:22s}  {difference}".rstrip())


def _show_trial(role: str, trial: FrozenTrial, stored: Stored) -> None:
    values = describe_values(values_of(stored.study.space, trial.params))
    f1_per_part = {part: f1 for part in PARTS if (f1 := trial.user_attrs.get(part_f1(part))) is not None}
    score = as_score(trial.value, "none, it diverged")
    say(f"{role:9s} trial {trial.number}: macro F1 {score}{parts(f1_per_part)}  {values}")


def _show_pruning(trials: list[FrozenTrial]) -> None:
    """The share of the planned training that pruning saved, and its time."""
    saved = savings(trials)
    if saved.pruned:
        say(
            f"Pruning stopped {saved.pruned} of {saved.finished} trials and saved {100 * saved.share:.0f} % of the"
            f" training, about {duration(saved.seconds)}."
        )


def _show_next(name: str, runs: Path, storage_url: str | None) -> None:
    where, study = place_options(runs, storage_url), quoted(name)
    say("Next:")
    say(f"  python -m search.report --study {study}{where}")
    say(f"  python -m search.confirm --study {study}{where}")
    say(f"  python -m search.export --study {study} -o best.toml{where}")
    say(f"  python -m search.dashboard{where}")
    say(f"  optuna-dashboard {_url_word(runs, storage_url)} --artifact-dir {quoted(runs / 'artifacts')}")
    if hint := storage_option(storage_url)[1]:
        say(hint)


def _url_word(runs: Path, storage_url: str | None) -> str:
    """The URL as a word of a command; one from the environment stays in its variable."""
    if storage_url and not storage_option(storage_url)[0]:
        return f'"${STORAGE_VARIABLE}"'
    return quoted(url_to_type(storage_url or default_url(runs))[0])
