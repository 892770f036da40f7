"""The state of studies, as search.status shows it and, as JSON with these very names, scripts read it.

Times are ISO 8601 with their offset from UTC, values are of the metric that is named, and None (null) stands for a
missing one. Nothing here writes: the next search.run takes back a trial whose process is gone.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from maskcls.tasks.declared import task_from_json
from search.answer.confirmation import read_confirmation
from search.answer.wording import confirmed_sentences, rounds_sentence, team_sentence, words_of_test
from search.database.connect import backend_of, load_study
from search.database.optuna_internals import stale_trial_ids, trial_id
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
from search.storage.final_test import FinalTest, read_test
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

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
    "failed": TrialState.FAIL,
}


@dataclass(frozen=True)
class TrialCounts:
    """The number of trials in each state."""

    complete: int
    """Trained to the end."""
    pruned: int
    """Stopped early, diverged ones included."""
    running: int
    """Being trained, those whose process is gone included."""
    waiting: int
    """In the queue: enqueued, interrupted, or to be tried again."""
    failed: int
    """Given up after an error."""


@dataclass(frozen=True)
class BestTrial:
    """The best complete trial, in brief."""

    trial: int
    """Its number."""
    value: float | None
    """Its score."""


@dataclass(frozen=True)
class StudyOverview:
    """A study in one line."""

    name: str
    """The stored name, which every command takes."""
    question: str | None
    """The study's question; None if it was not made by search.run."""
    confirms: str | None
    """The study that this one confirms (search.confirm); None for a search.

    A confirmation has no best, baseline, incumbent or noise: each repeat has its own judges.
    """
    confirms_team: bool
    """Whether it confirms a team of that study's models (search.confirm --ensemble)."""
    trials: TrialCounts
    """The number of trials in each state."""
    gone: int
    """Number of running trials whose process is gone; the next search.run continues them."""
    best: BestTrial | None
    """The best trial; also None for another program's study, which may minimise, or have several objectives."""
    last_event: str | None
    """Time at which a trial last began, ended or failed."""
    metric: str | None
    """What its values are: macro_f1, accuracy or balanced_accuracy; None if it was not made by search.run."""


@dataclass(frozen=True)
class DatabaseOverview:
    """All studies of a database: the JSON document without --study."""

    storage: str
    """The database's URL, without a password."""
    studies: tuple[StudyOverview, ...]
    """The studies, by the time of their last event."""

    def to_json(self) -> dict[str, Any]:
        """The document as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class TrialStatus:
    """A trial and its hyperparameters."""

    trial: int
    """Its number."""
    value: float | None
    """Its score."""
    state: str
    """complete, pruned, running, waiting or fail."""
    values: dict[str, Any]
    """Values of its hyperparameters."""


@dataclass(frozen=True)
class ConfigurationStatus:
    """A trial and its hyperparameters, with all complete runs of the same configuration."""

    trial: int
    """Its number."""
    value: float | None
    """Its own score."""
    state: str
    """complete, pruned, running, waiting or fail."""
    values: dict[str, Any]
    """Values of its hyperparameters."""
    runs: tuple[int, ...]
    """Numbers of the complete trials of that configuration."""
    mean: float | None
    """Mean value of those trials."""


@dataclass(frozen=True)
class NoiseStatus:
    """The spread between training seeds."""

    deviation: float
    """Standard deviation."""
    repeated_runs: int
    """Number of runs that it rests on: those beyond the first of each configuration."""


@dataclass(frozen=True)
class SpentTest:
    """How the recommended trial did on the photos held back for a test, which are scored once.

    In JSON the result's fields stand beside ``text``, its ``when`` as ISO 8601.
    """

    result: FinalTest
    """What is stored of it."""
    text: str
    """All of this in words."""

    def to_json(self) -> dict[str, Any]:
        """The entry of the document."""
        return {**self.result.to_json(), "when": iso(self.result.when), "text": self.text}


@dataclass(frozen=True)
class RunningTrial:
    """A running trial and its worker."""

    trial: int
    """Its number."""
    host: str | None
    """Name of the worker's machine; None here and below for a trial that no worker has claimed."""
    pid: int | None
    """Process id of the worker."""
    slot: str | None
    """The device and the worker's number on it: ``cuda:1.0``."""
    since: str | None
    """Time at which the trial began."""
    worker_since: str | None
    """Time at which its worker began."""
    evaluation: int
    """Number of the last evaluation; 0 before the first."""
    evaluations: int | None
    """Number of planned evaluations."""
    value: float | None
    """The best value so far."""
    gone: bool
    """Whether its process is gone."""


@dataclass(frozen=True)
class FailureStatus:
    """All failures of one kind; a trial that failed several times counts each time."""

    kind: str
    """``crash``, ``out of memory``, ``diverged`` ...: see search.storage.failures."""
    count: int
    """Number of failures."""
    trials: tuple[int, ...]
    """Numbers of the trials that failed so."""
    last_error: str
    """Text of the latest error."""
    last_trial: int
    """Number of the trial with the latest error."""
    last_when: str | None
    """Time of the latest error."""


@dataclass(frozen=True)
class StudyStatus:
    """The full state of one study: the JSON document with --study.

    In JSON the overview's fields stand beside the others, and ``best`` is this class's.
    """

    storage: str
    """The database's URL, without a password."""
    overview: StudyOverview
    """The study in one line."""
    synthetic: bool
    """Whether its photos are synthetic."""
    data: str
    """The folder of the photos as given, or "synthetic"."""
    noise: NoiseStatus | None
    """The study's noise; None while no configuration has run twice."""
    best: TrialStatus | None
    """The best complete trial."""
    baseline: ConfigurationStatus | None
    """The baseline's trial and its replicates."""
    incumbent: ConfigurationStatus | None
    """The configuration with the best mean, by its first trial."""
    answer: str | None
    """The verdict of its rounds, as a sentence; None before the first look at them."""
    confirmed: str | None
    """The verdict of its confirmation, as a sentence."""
    test: SpentTest | None
    """The result of the test; None before, and for data that holds no photos back."""
    trials_since_best: int
    """Number of trials since the last one that was better by more than the noise."""
    epochs: float
    """Epochs trained over all trials."""
    running: tuple[RunningTrial, ...]
    """The running trials, by number."""
    failures: tuple[FailureStatus, ...]
    """The failures, one entry for each kind."""
    interruptions: int
    """Number of times that a trial's process was stopped or died."""

    def to_json(self) -> dict[str, Any]:
        """The document as plain values."""
        values = {**asdict(self), "test": None if self.test is None else self.test.to_json()}
        return {"storage": values.pop("storage"), **values.pop("overview"), **values}


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


def iso(when: float | None) -> str | None:
    """The time ``when``, in seconds since 1970, as ISO 8601 with its offset from UTC."""
    return None if when is None else datetime.fromtimestamp(when, UTC).astimezone().isoformat(timespec="seconds")


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
