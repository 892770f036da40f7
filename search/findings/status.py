"""The state of studies, as documents.py describes it, from the database alone.

Nothing here writes: the next search.run takes back a trial whose process is gone.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from maskcls.tasks.declared import task_from_json
from search.answer.confirmation import read_confirmation
from search.database.connect import backend_of, load_study
from search.database.optuna_internals import stale_trial_ids, trial_id
from search.findings.confirmation import confirmed_sentences, team_sentence
from search.findings.documents import (
    STATES,
    BestTrial,
    ConfigurationStatus,
    DatabaseOverview,
    FailureStatus,
    NoiseStatus,
    RunningTrial,
    SpentTest,
    StudyOverview,
    StudyStatus,
    TrialCounts,
    TrialStatus,
    iso,
)
from search.findings.final_test import words_of_test
from search.findings.rounds import rounds_sentence
from search.policy.history import (
    best_trial,
    configuration_of,
    incumbent,
    runs_by_configuration,
    seed_noise,
    values_of_runs,
)
from search.policy.stopping import epochs_spent, trials_since_best
from search.storage.failures import DIVERGED, failures_of, has_diverged
from search.storage.final_test import read_test
from search.storage.orphans import is_orphaned
from search.study.attributes import (
    ERROR,
    baseline_among,
    interruptions_of,
    judged_by_study,
    planned_evaluations_of,
    worker_of,
)
from search.study.domains import encode
from search.study.record import Stored, confirms, confirms_team, document_in
from search.study.space import values_of
from search.system.clock import began_at, ended_at
from search.system.storage_url import shown_url


def overview_of_all(storage: RDBStorage) -> DatabaseOverview:
    """The overview of all studies in a database."""
    studies = (overview_of(load_study(storage, name)) for name in optuna.get_all_study_names(storage))
    return DatabaseOverview(shown_url(storage.url), tuple(sorted(studies, key=lambda study: study.last_event or "")))


def overview_of(study: optuna.Study) -> StudyOverview:
    """The overview of one study, whichever program made it."""
    trials = study.get_trials(deepcopy=False)
    document, of = document_in(study), confirms(study)
    best = _best(trials, is_search=document is not None and of is None)
    return StudyOverview(
        name=study.study_name,
        question=None if document is None else document["question"],
        confirms=of,
        confirms_team=confirms_team(study),
        trials=_counts(trials),
        gone=sum(run.gone for run in runs_of(study, trials)),
        best=None if best is None else BestTrial(best.number, _value(best.value)),
        last_event=_last_event(trials),
        metric=None if document is None else task_from_json(document.get("task")).metric,
    )


def _best(trials: Sequence[FrozenTrial], is_search: bool) -> FrozenTrial | None:
    """The best trial of those with the same judges; None for a confirmation, in which each repeat has its own."""
    return best_trial(judged_by_study(trials)) if is_search else None


def status_of(study: optuna.Study, stored: Stored) -> StudyStatus:
    """The full state of one study."""
    trials = study.get_trials(deepcopy=False)
    is_search = stored.confirmation is None
    outcome = read_confirmation(study)
    searched = judged_by_study(trials)
    noise = seed_noise(searched) if is_search else None
    baseline = baseline_among(trials)
    best = _best(trials, is_search)
    leading = incumbent(searched) if is_search else []
    return StudyStatus(
        storage=shown_url(backend_of(study).url),
        overview=overview_of(study),
        synthetic=stored.study.synthetic,
        data=stored.data,
        noise=NoiseStatus(noise.deviation, noise.dof) if noise else None,
        best=None if best is None else TrialStatus(**_trial(best, stored)),
        baseline=_with_runs(baseline, searched, stored),
        incumbent=_with_runs(next(iter(leading), None), searched, stored),
        answer=_answer(study, stored),
        confirmed=None if outcome is None else confirmed_sentences(outcome, stored.task.unit)[0],
        test=_spent_test(study, stored),
        trials_since_best=trials_since_best(trials),
        epochs=epochs_spent(trials, stored.baseline_config.evaluations_per_epoch),
        running=runs_of(study, trials, _evaluations(trials, stored)),
        failures=_failures(trials),
        interruptions=sum(interruptions_of(trial) for trial in trials),
    )


def _answer(study: optuna.Study, stored: Stored) -> str | None:
    """What the rounds say, or the repeats of a team; None before, and for another confirmation: its study has it."""
    if stored.confirmation is None:
        return rounds_sentence(study, stored)
    return team_sentence(study, stored) if stored.confirms_team else None


def _spent_test(study: optuna.Study, stored: Stored) -> SpentTest | None:
    found = read_test(study)
    return None if found is None else SpentTest(found, words_of_test(found, stored.task))


def _counts(trials: Sequence[FrozenTrial]) -> TrialCounts:
    count = Counter(trial.state for trial in trials)
    return TrialCounts(**{name: count[state] for name, state in STATES.items()})


def _value(value: float | None) -> float | None:
    """The value as JSON can hold it: None for NaN or infinity, which other programs may have stored."""
    return value if value is not None and math.isfinite(value) else None


def _trial(trial: FrozenTrial, stored: Stored) -> dict[str, Any]:
    """The fields that TrialStatus and ConfigurationStatus share."""
    state = trial.state.name.lower()
    return {"trial": trial.number, "value": _value(trial.value), "state": state, "values": _values(trial, stored)}


def _values(trial: FrozenTrial, stored: Stored) -> dict[str, Any]:
    """The values of the hyperparameters; the bare parameters of a trial added by hand that lacks some."""
    try:
        return {name: encode(value) for name, value in values_of(stored.study.space, trial.params).items()}
    except KeyError:
        return dict(trial.params)


def _with_runs(trial: FrozenTrial | None, trials: Sequence[FrozenTrial], stored: Stored) -> ConfigurationStatus | None:
    """The trial with all complete runs of its configuration and their mean; None for no trial."""
    if trial is None:
        return None
    runs = runs_by_configuration(trials).get(configuration_of(trial.params), [])
    values = values_of_runs(runs)
    mean = _value(fmean(values)) if values else None
    return ConfigurationStatus(**_trial(trial, stored), runs=tuple(run.number for run in runs), mean=mean)


def _evaluations(trials: Iterable[FrozenTrial], stored: Stored) -> int:
    """Planned evaluations of a trial, as stored with one that has ended, else by the config."""
    config = stored.baseline_config
    planned = (count for trial in trials if (count := planned_evaluations_of(trial)) is not None)
    return int(next(planned, config.epochs * config.evaluations_per_epoch))


def runs_of(study: optuna.Study, trials: Sequence[FrozenTrial], planned: int | None = None) -> tuple[RunningTrial, ...]:
    """The running trials. ``planned``: the planned evaluations of a trial."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    stale = stale_trial_ids(study) if running else set()
    return tuple(_run(trial, is_orphaned(trial, trial_id(trial) in stale), planned) for trial in running)


def _run(trial: FrozenTrial, gone: bool, planned: int | None) -> RunningTrial:
    worker = worker_of(trial)
    return RunningTrial(
        trial=trial.number,
        host=worker.host if worker else None,
        pid=worker.pid if worker else None,
        slot=worker.slot if worker else None,
        since=iso(began_at(trial)),
        worker_since=iso(worker.since if worker else None),
        evaluation=max(trial.intermediate_values, default=0),
        evaluations=planned,
        value=_value(max(trial.intermediate_values.values(), default=None)),
        gone=gone,
    )


def _failures(trials: Sequence[FrozenTrial]) -> tuple[FailureStatus, ...]:
    """All failures and divergences, one entry for each kind."""
    failures = [(trial.number, failure) for trial in trials for failure in (*failures_of(trial), *_divergence(trial))]
    kinds = sorted({failure["kind"] for _, failure in failures})
    return tuple(_failure_status(kind, [row for row in failures if row[1]["kind"] == kind]) for kind in kinds)


def _divergence(trial: FrozenTrial) -> list[dict[str, Any]]:
    """The divergence of a trial, which is stored as its result, in the form of failures_of."""
    if trial.state != TrialState.PRUNED or not has_diverged(trial):
        return []
    return [{"kind": DIVERGED, "error": trial.user_attrs.get(ERROR, ""), "when": ended_at(trial) or 0.0}]


def _failure_status(kind: str, failures: Sequence[tuple[int, dict[str, Any]]]) -> FailureStatus:
    """``failures``: (trial number, failure) of all failures of this kind."""
    last_trial, last = max(failures, key=lambda row: row[1]["when"])
    return FailureStatus(
        kind=kind,
        count=len(failures),
        trials=tuple(sorted({number for number, _ in failures})),
        last_error=last["error"],
        last_trial=last_trial,
        last_when=iso(last["when"]),
    )


def _last_event(trials: Sequence[FrozenTrial]) -> str | None:
    """Time at which a trial last began, ended or failed; evaluations have no time."""
    moments = [moment for trial in trials for moment in (began_at(trial), ended_at(trial)) if moment is not None]
    moments += [failure["when"] for trial in trials for failure in failures_of(trial)]
    return iso(max(moments, default=None))
