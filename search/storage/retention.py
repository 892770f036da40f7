"""Which large files of a study are kept: the weights of its best trials, and the states of unfinished ones."""

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from maskcls.run.checkpoint import remove_staged_files
from maskcls.run.record import STATE, WEIGHTS
from search.policy.history import best_first


def remove_large_files(trials: Sequence[FrozenTrial], folder: Path, keep: int) -> None:
    """Delete the large files of finished trials, except the weights of the best ``keep`` complete ones.

    Predictions, pictures and configs of all trials are kept. Several workers may do this at once.
    """
    kept = {trial.number for trial in best_first(trials)[:keep]}
    for trial in trials:
        if trial.state.is_finished():
            home = trial_folder(folder, trial.number)
            (home / STATE).unlink(missing_ok=True)
            remove_staged_files(home)
            if trial.number not in kept:
                (home / WEIGHTS).unlink(missing_ok=True)


def trial_folder(folder: Path, number: int) -> Path:
    """The folder of trial ``number`` in its study's folder."""
    return folder / f"trial-{number:04d}"
