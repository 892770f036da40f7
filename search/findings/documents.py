"""The documents of search.status: what it shows and, as JSON with these very names, what scripts read.

Times are ISO 8601 with their offset from UTC, values are of the metric that is named, and None (null) stands for a
missing one.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from optuna.trial import TrialState

from search.storage.final_test import FinalTest

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
    "failed": TrialState.FAIL,
}


def iso(when: float | None) -> str | None:
    """The time ``when``, in seconds since 1970, as ISO 8601 with its offset from UTC."""
    return None if when is None else datetime.fromtimestamp(when, UTC).astimezone().isoformat(timespec="seconds")


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
