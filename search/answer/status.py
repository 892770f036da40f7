"""Where studies stand: what search.status shows, and, as JSON with these very names, what scripts read.

Times are ISO 8601 with their offset from UTC, values are macro F1, and None (null) stands for what there is none of.
It only reads: a trial without a process is named here, and taken back by the next search.run.
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

from search.answer.confirmation import read_confirmation
from search.answer.wording import confirmed_sentences
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
from search.storage.orphans import is_orphaned
from search.study.attributes import ERROR, baseline_among, interruptions_of, planned_evaluations_of, worker_of
from search.study.hyperparameters import encode
from search.study.record import Stored, confirms, document_in
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
    """Trials of each state."""

    complete: int
    """Trained to their end."""
    pruned: int
    """Stopped early, diverged ones included."""
    running: int
    """Being trained; those without a process included."""
    waiting: int
    """In the queue: asked for, interrupted, or to be tried again."""
    failed: int
    """Given up after an error."""


@dataclass(frozen=True)
class BestTrial:
    """The best complete trial, in short."""

    trial: int
    """Its number."""
    value: float | None
    """Its macro F1."""


@dataclass(frozen=True)
class StudyOverview:
    """One study in a line."""

    name: str
    """The stored one, which every command takes."""
    question: str | None
    """None: not made by search.run."""
    confirms: str | None
    """The study that this one is the confirmation of (search.confirm); None for a search.

    A confirmation has no best, baseline, incumbent or noise: each repeat has other judges.
    """
    trials: TrialCounts
    """How many there are of each state."""
    gone: int
    """Running trials that have no process any more; the next search.run takes them up."""
    best: BestTrial | None
    """None too for another program's study, where the best may be the lowest, or one of several."""
    last_event: str | None
    """When a trial last began, ended or failed."""


@dataclass(frozen=True)
class DatabaseOverview:
    """All studies of a database: the document without --study."""

    storage: str
    """Its URL, without a password."""
    studies: tuple[StudyOverview, ...]
    """The one where something happened last at the end."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class TrialStatus:
    """A trial and its knobs."""

    trial: int
    """Its number."""
    value: float | None
    """Its macro F1."""
    state: str
    """complete, pruned, running, waiting or fail."""
    values: dict[str, Any]
    """Values of the knobs."""


@dataclass(frozen=True)
class ConfigurationStatus:
    """A trial and its knobs, and all complete runs of the same setting."""

    trial: int
    """Its number."""
    value: float | None
    """Its own macro F1."""
    state: str
    """complete, pruned, running, waiting or fail."""
    values: dict[str, Any]
    """Values of the knobs."""
    runs: tuple[int, ...]
    """The complete trials of that setting."""
    mean: float | None
    """Mean value of those."""


@dataclass(frozen=True)
class NoiseStatus:
    """The spread from training seed to training seed."""

    deviation: float
    """Standard deviation."""
    repeated_runs: int
    """Runs that it rests on: those beyond the first of each setting."""


@dataclass(frozen=True)
class RunningTrial:
    """Who runs what where since when."""

    trial: int
    """Its number."""
    host: str | None
    """The machine's name; None here and below for a trial that no worker has claimed."""
    pid: int | None
    """The worker's process there."""
    slot: str | None
    """``cuda:1.0``: the device, and which of its workers."""
    since: str | None
    """When the trial began."""
    worker_since: str | None
    """When its worker began."""
    evaluation: int
    """The last one made; 0: none yet."""
    evaluations: int | None
    """Those planned."""
    value: float | None
    """Best so far."""
    gone: bool
    """It has no process any more."""


@dataclass(frozen=True)
class FailureStatus:
    """All failures of one kind. A trial that failed and was tried again counts every time."""

    kind: str
    """``crash``, ``out of memory``, ``diverged`` ...: see search.storage.failures."""
    count: int
    """How often."""
    trials: tuple[int, ...]
    """In which trials."""
    last_error: str
    """The latest one's text."""
    last_trial: int
    """The trial that had it."""
    last_when: str | None
    """When that was."""


@dataclass(frozen=True)
class StudyStatus:
    """All that is known of one study: the document with --study.

    In JSON the overview's fields stand beside the others, and ``best`` is the one here.
    """

    storage: str
    """The database's URL, without a password."""
    overview: StudyOverview
    """The study in a line."""
    synthetic: bool
    """Its photos are drawn."""
    data: str
    """The folder of the photos as given, or "synthetic"."""
    noise: NoiseStatus | None
    """None while no setting has run twice."""
    best: TrialStatus | None
    """The best complete trial."""
    baseline: ConfigurationStatus | None
    """The baseline's trial and its replicates."""
    incumbent: ConfigurationStatus | None
    """The setting with the best mean, by its first trial."""
    confirmed: str | None
    """The verdict of its confirmation, a sentence."""
    trials_since_best: int
    """Trials since the last one that was better by more than the noise."""
    epochs: float
    """Spent, over all trials."""
    running: tuple[RunningTrial, ...]
    """The running trials, by number."""
    failures: tuple[FailureStatus, ...]
    """One for each kind."""
    interruptions: int
    """How often processes were stopped or died."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = asdict(self)
        return {"storage": values.pop("storage"), **values.pop("overview"), **values}


def overview_of_all(storage: RDBStorage) -> DatabaseOverview:
    """All studies of a database."""
    studies = (overview_of(load_study(storage, name)) for name in optuna.get_all_study_names(storage))
    return DatabaseOverview(shown_url(storage.url), tuple(sorted(studies, key=lambda study: study.last_event or "")))


def overview_of(study: optuna.Study) -> StudyOverview:
    """One study in a line, whoever made it."""
    trials = study.get_trials(deepcopy=False)
    document, of = document_in(study), confirms(study)
    best = _best(trials, is_search=document is not None and of is None)
    return StudyOverview(
        name=study.study_name,
        question=None if document is None else document["question"],
        confirms=of,
        trials=_counts(trials),
        gone=sum(run.gone for run in runs_of(study, trials)),
        best=None if best is None else BestTrial(best.number, _value(best.value)),
        last_event=_last_event(trials),
    )


def _best(trials: Sequence[FrozenTrial], is_search: bool) -> FrozenTrial | None:
    """The best trial; there is none in a confirmation, whose repeats have other judges each."""
    return best_trial(trials) if is_search else None


def status_of(study: optuna.Study, stored: Stored) -> StudyStatus:
    """All that is known of one study."""
    trials = study.get_trials(deepcopy=False)
    is_search = stored.confirmation is None
    outcome = read_confirmation(study)
    noise = seed_noise(trials) if is_search else None
    baseline = baseline_among(trials)
    best = _best(trials, is_search)
    leading = incumbent(trials) if is_search else []
    per_epoch = _fixed(stored, "evaluations_per_epoch")
    return StudyStatus(
        storage=shown_url(backend_of(study).url),
        overview=overview_of(study),
        synthetic=stored.study.synthetic,
        data=stored.data,
        noise=NoiseStatus(noise.deviation, noise.dof) if noise else None,
        best=None if best is None else TrialStatus(**_trial(best, stored)),
        baseline=_with_runs(baseline, trials, stored),
        incumbent=_with_runs(next(iter(leading), None), trials, stored),
        confirmed=None if outcome is None else confirmed_sentences(outcome)[0],
        trials_since_best=trials_since_best(trials),
        epochs=epochs_spent(trials, per_epoch),
        running=runs_of(study, trials, _evaluations(trials, stored)),
        failures=_failures(trials),
        interruptions=sum(interruptions_of(trial) for trial in trials),
    )


def iso(when: float | None) -> str | None:
    """With its offset from UTC."""
    return None if when is None else datetime.fromtimestamp(when, UTC).astimezone().isoformat(timespec="seconds")


def _fixed(stored: Stored, name: str) -> int:
    return int(getattr(stored.baseline_config, name))


def _counts(trials: Sequence[FrozenTrial]) -> TrialCounts:
    counted = Counter(trial.state for trial in trials)
    return TrialCounts(**{name: counted[state] for name, state in STATES.items()})


def _value(value: float | None) -> float | None:
    """JSON knows no NaN, which a study that others wrote into may hold."""
    return value if value is not None and math.isfinite(value) else None


def _trial(trial: FrozenTrial, stored: Stored) -> dict[str, Any]:
    """What TrialStatus and ConfigurationStatus both say of it."""
    state = trial.state.name.lower()
    return {"trial": trial.number, "value": _value(trial.value), "state": state, "values": _values(trial, stored)}


def _values(trial: FrozenTrial, stored: Stored) -> dict[str, Any]:
    """Values of the knobs; the bare parameters of a trial that was added by hand and lacks some."""
    try:
        return {name: encode(value) for name, value in values_of(stored.study.space, trial.params).items()}
    except KeyError:
        return dict(trial.params)


def _with_runs(trial: FrozenTrial | None, trials: Sequence[FrozenTrial], stored: Stored) -> ConfigurationStatus | None:
    """The trial, and all complete runs of its setting with their mean."""
    if trial is None:
        return None
    runs = runs_by_configuration(trials).get(configuration_of(trial.params), [])
    values = values_of_runs(runs)
    mean = _value(fmean(values)) if values else None
    return ConfigurationStatus(**_trial(trial, stored), runs=tuple(run.number for run in runs), mean=mean)


def _evaluations(trials: Iterable[FrozenTrial], stored: Stored) -> int:
    """Evaluations of a trial that is not pruned, as one that has ended wrote them down, else by the config."""
    planned = (count for trial in trials if (count := planned_evaluations_of(trial)) is not None)
    return int(next(planned, _fixed(stored, "epochs") * _fixed(stored, "evaluations_per_epoch")))


def runs_of(study: optuna.Study, trials: Sequence[FrozenTrial], planned: int | None = None) -> tuple[RunningTrial, ...]:
    """The running trials. ``planned``: evaluations of a trial that is not pruned."""
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


@dataclass(frozen=True)
class _Failure:
    """One failure of one trial."""

    trial: int
    kind: str
    error: str
    when: float
    """Seconds of time.time."""


def _failures(trials: Sequence[FrozenTrial]) -> tuple[FailureStatus, ...]:
    """A row a kind: how often, in which trials, and its latest error."""
    failures = [
        _Failure(trial.number, known["kind"], known["error"], known["when"])
        for trial in trials
        for known in failures_of(trial)
    ]
    # a divergence is a result, and stands with the trial itself
    failures += [
        _Failure(trial.number, DIVERGED, trial.user_attrs.get(ERROR, ""), ended_at(trial) or 0.0)
        for trial in trials
        if trial.state == TrialState.PRUNED and has_diverged(trial)
    ]
    kinds = sorted({failure.kind for failure in failures})
    return tuple(_failures_of_kind([failure for failure in failures if failure.kind == kind]) for kind in kinds)


def _failures_of_kind(failures: Sequence[_Failure]) -> FailureStatus:
    last = max(failures, key=lambda failure: failure.when)
    return FailureStatus(
        kind=last.kind,
        count=len(failures),
        trials=tuple(sorted({failure.trial for failure in failures})),
        last_error=last.error,
        last_trial=last.trial,
        last_when=iso(last.when),
    )


def _last_event(trials: Iterable[FrozenTrial]) -> str | None:
    """When a trial last began, ended or failed; evaluations carry no time."""
    trials = list(trials)
    ends = [moment for trial in trials for moment in (began_at(trial), ended_at(trial))]
    moments = [moment for moment in ends if moment is not None]
    moments += [found["when"] for trial in trials for found in failures_of(trial)]
    return iso(max(moments, default=None))
