"""Where a study stands, as plain values that JSON takes: what search.status shows and what scripts read.

Only reads: a ghost (a trial whose process is gone) is named here, and taken back by the next search.run.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.answer.confirmation import read_confirmation
from search.answer.wording import confirmed_sentences
from search.database.connect import backend_of
from search.policy.history import best_trials, incumbent, runs_by_setting, seed_noise, setting, values_of_runs
from search.policy.stopping import epochs_spent, trials_since_best
from search.storage.failures import DIVERGED, INTERRUPTIONS, failures_of
from search.storage.queue import is_lost, worker_of
from search.study.record import Stored, confirms, document_in
from search.study.space import values_of
from search.study.study import encode
from search.system.clock import began_at, ended_at

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
    "failed": TrialState.FAIL,
}


def overview_of(study: optuna.Study) -> dict[str, Any]:
    """One study in a line; also of a study that was not made by search.run: it has no question, and no best, which
    for another program may be the lowest, or one of several."""
    trials = study.get_trials(deepcopy=False)
    running = runs_of(study, trials)
    document, of = document_in(study), confirms(study)
    return {
        "name": study.study_name,
        "question": None if document is None else document["question"],
        "confirms": of,
        "trials": _counts(trials),
        "gone": sum(found["gone"] for found in running),
        "best": _short(_best(trials, is_search=document is not None and of is None)),
        "last_event": _last_event(trials),
    }


def _best(trials: Sequence[FrozenTrial], is_search: bool) -> FrozenTrial | None:
    """The best trial; there is none in a confirmation, whose rounds have other judges each."""
    return next(iter(best_trials(trials, 1)), None) if is_search else None


def standing_of(study: optuna.Study, stored: Stored) -> dict[str, Any]:
    """All that is known of one study (search.status has the list of its keys)."""
    trials = study.get_trials(deepcopy=False)
    is_search = stored.confirmation is None
    outcome = read_confirmation(study)
    known = seed_noise(trials) if is_search else None
    baseline = next((trial for trial in trials if trial.user_attrs.get("role") == "baseline"), None)
    best = _best(trials, is_search)
    leading = incumbent(trials) if is_search else []
    per_epoch = _fixed(stored, "evaluations_per_epoch")
    return {
        **overview_of(study),
        "synthetic": stored.study.synthetic,
        "data": stored.data,
        "noise": {"deviation": known.deviation, "repeated_runs": known.freedom} if known else None,
        "best": _long(best, stored),
        "baseline": _with_runs(baseline, trials, stored),
        "incumbent": _with_runs(next(iter(leading), None), trials, stored),
        "confirmed": outcome and confirmed_sentences(outcome)[0],
        "trials_since_best": trials_since_best(trials),
        "epochs": epochs_spent(trials, per_epoch),
        "running": runs_of(study, trials, _evaluations(trials, stored)),
        "failures": _failures(trials),
        "interruptions": sum(trial.user_attrs.get(INTERRUPTIONS, 0) for trial in trials),
    }


def iso(when: float | None) -> str | None:
    """With its offset from UTC."""
    return None if when is None else datetime.fromtimestamp(when, UTC).astimezone().isoformat(timespec="seconds")


def _fixed(stored: Stored, name: str) -> int:
    return int(getattr(stored.config(dict(stored.study.baseline)), name))


def _counts(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    counted = Counter(trial.state for trial in trials)
    return {name: counted[state] for name, state in STATES.items()}


def _value(value: float | None) -> float | None:
    """JSON knows no NaN, which a study that others wrote into may hold."""
    return value if value is not None and math.isfinite(value) else None


def _short(trial: FrozenTrial | None) -> dict[str, Any] | None:
    return None if trial is None else {"trial": trial.number, "value": _value(trial.value)}


def _long(trial: FrozenTrial | None, stored: Stored) -> dict[str, Any] | None:
    if trial is None:
        return None
    shown = {"trial": trial.number, "value": _value(trial.value), "state": trial.state.name.lower()}
    return {**shown, "values": _values(trial, stored)}


def _values(trial: FrozenTrial, stored: Stored) -> dict[str, Any]:
    """Of the knobs; the bare parameters of a trial that somebody wrote by hand and that lacks some."""
    try:
        return {name: encode(value) for name, value in values_of(stored.study.space, trial.params).items()}
    except KeyError:
        return dict(trial.params)


def _with_runs(trial: FrozenTrial | None, trials: Sequence[FrozenTrial], stored: Stored) -> dict[str, Any] | None:
    """The trial, and all complete runs of its setting with their mean."""
    found = _long(trial, stored)
    if trial is None or found is None:
        return None
    runs = runs_by_setting(trials).get(setting(trial.params), [])
    values = values_of_runs(runs)
    return {**found, "runs": [run.number for run in runs], "mean": _value(fmean(values)) if values else None}


def _evaluations(trials: Iterable[FrozenTrial], stored: Stored) -> int:
    """Of a trial that nobody stops, as one that has ended wrote it down; else as the config asks for."""
    told = (trial.user_attrs["evaluations_planned"] for trial in trials if "evaluations_planned" in trial.user_attrs)
    return int(next(told, _fixed(stored, "epochs") * _fixed(stored, "evaluations_per_epoch")))


def runs_of(study: optuna.Study, trials: Sequence[FrozenTrial], planned: int | None = None) -> list[dict[str, Any]]:
    """Who runs what where since when. ``planned``: evaluations of a trial that nobody stops."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    silent = set(backend_of(study)._get_stale_trial_ids(study._study_id)) if running else set()
    return [_run(trial, is_lost(trial, trial._trial_id in silent), planned) for trial in running]


def _run(trial: FrozenTrial, gone: bool, planned: int | None) -> dict[str, Any]:
    worker = worker_of(trial)
    return {
        "trial": trial.number,
        "host": worker.host if worker else None,
        "pid": worker.pid if worker else None,
        "slot": worker.slot if worker else None,
        "since": iso(began_at(trial)),
        "worker_since": iso(worker.since if worker else None),
        "evaluation": max(trial.intermediate_values, default=0),
        "evaluations": planned,
        "value": _value(max(trial.intermediate_values.values(), default=None)),
        "gone": gone,
    }


def _failures(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """A row a kind: how often, in which trials, and its latest error."""
    events = [{**found, "trial": trial.number} for trial in trials for found in failures_of(trial)]
    events += [_divergence(trial) for trial in trials if _has_diverged(trial)]
    kinds = sorted({event["kind"] for event in events})
    return [_failures_of_kind(kind, [event for event in events if event["kind"] == kind]) for kind in kinds]


def _has_diverged(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.PRUNED and trial.user_attrs.get("failure_kind") == DIVERGED


def _divergence(trial: FrozenTrial) -> dict[str, Any]:
    """A divergence is a result and stands with the trial itself."""
    when = ended_at(trial) or 0.0
    return {"kind": DIVERGED, "error": trial.user_attrs.get("error", ""), "when": when, "trial": trial.number}


def _failures_of_kind(kind: str, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = max(events, key=lambda event: event["when"])
    return {
        "kind": kind,
        "count": len(events),
        "trials": sorted({event["trial"] for event in events}),
        "last_error": last["error"],
        "last_trial": last["trial"],
        "last_when": iso(last["when"]),
    }


def _last_event(trials: Iterable[FrozenTrial]) -> str | None:
    """When a trial last began, ended or failed; evaluations carry no time."""
    trials = list(trials)
    ends = [moment for trial in trials for moment in (began_at(trial), ended_at(trial))]
    moments = [moment for moment in ends if moment is not None]
    moments += [found["when"] for trial in trials for found in failures_of(trial)]
    return iso(max(moments, default=None))
