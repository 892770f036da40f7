"""When a study is done: limits on trials, epochs and patience, counted over all stored trials of all commands."""

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.policy.history import seed_noise
from search.study.attributes import SINCE_BEST, is_replicate, round_of
from search.system.clock import ended_at

DECIDED = "every difference is decided"
"""Why a study may end before a limit."""

LACKS_TIME = "the time that is left is too short for another round"
"""Why a command with a --timeout may end before it."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class StoppingCriteria:
    """The limits that a command of search.run sets."""

    n_trials: int
    """Complete and pruned trials that the study should reach."""
    max_epochs: float | None = None
    """No trial begins once the study's trials have trained for so many epochs together."""
    patience: int | None = None
    """The search ends once so many of its trials have ended without improving the best value by more than the noise."""
    expected_epochs: float | None = None
    """How many epochs all trials can train for together in the time that a command has; only to divide it."""
    own_best: bool = False
    """Whether the rounds that the trials are added in have each level at its own best setting (--own-best)."""

    def to_json(self) -> dict[str, float | None]:
        """What a command has set, as plain values; without what its own time allows."""
        values = {"n_trials": self.n_trials, "max_epochs": self.max_epochs, "patience": self.patience}
        return {**values, "own_best": True} if self.own_best else values

    def epochs_in_all(self) -> float | None:
        """The epochs that the study may use; None if only trials are limited."""
        known = [epochs for epochs in (self.max_epochs, self.expected_epochs) if epochs is not None]
        return min(known, default=None)


def count_finished(trials: Sequence[FrozenTrial]) -> int:
    """Complete and pruned trials: what --n-trials counts."""
    return sum(trial.state in FINISHED for trial in trials)


def epochs_spent(trials: Sequence[FrozenTrial], evaluations_per_epoch: int) -> float:
    """Epochs that all trials trained for, including failed and interrupted ones."""
    return sum(max(trial.intermediate_values, default=0) for trial in trials) / evaluations_per_epoch


def trials_since_best(trials: Sequence[FrozenTrial]) -> int:
    """How many trials have ended since the last one that was better than all before by more than the noise.

    Replicates and the trainings of rounds do not count: they try nothing new, or are judged by others.
    """
    noise = seed_noise(trials)
    margin = noise.deviation if noise else 0.0
    best, since = float("-inf"), 0
    tried = [trial for trial in trials if not is_replicate(trial) and not round_of(trial)]
    ended = [trial for trial in tried if trial.state in FINISHED]
    for trial in sorted(ended, key=lambda trial: (ended_at(trial) or 0.0, trial.number)):
        since += 1
        if trial.state == TrialState.COMPLETE and trial.value is not None and trial.value > best + margin:
            best, since = trial.value, 0
    return since


def patience_used(trials: Sequence[FrozenTrial]) -> int:
    """What --patience is compared with: ``trials_since_best`` as it was when the rounds after the first began.

    The trials of the search that ran then may still improve the best, which must not lead back to the search.
    """
    stood = next((trial.user_attrs[SINCE_BEST] for trial in trials if SINCE_BEST in trial.user_attrs), None)
    return trials_since_best(trials) if stood is None else int(stood)


def reached(limits: StoppingCriteria, trials: Sequence[FrozenTrial], evaluations_per_epoch: int) -> str:
    """The limit on trials or epochs that has been reached, as ``--n-trials 50``; empty while there is none."""
    if count_finished(trials) >= limits.n_trials:
        return f"--n-trials {limits.n_trials}"
    if limits.max_epochs is not None and epochs_spent(trials, evaluations_per_epoch) >= limits.max_epochs:
        return f"--max-epochs {limits.max_epochs:g}"
    return ""
