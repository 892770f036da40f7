"""Which large files of a study are kept: the weights of its best trials and of what its rounds compare, and the states
of unfinished ones."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from maskcls.run.checkpoint import remove_staged_files
from maskcls.run.record import STATE, WEIGHTS, UnusableRunError, read_record
from search.policy.history import best_first
from search.policy.rounds import exemplar_of
from search.study.attributes import WEIGHTS_DIGEST, is_own_best, judged_by_study, level_of


def remove_large_files(
    trials: Sequence[FrozenTrial], folder: Path, keep: int, team: Callable[[Sequence[FrozenTrial]], Collection[int]]
) -> None:
    """Delete the large files of finished trials, except the weights of the best ``keep`` complete ones.

    They are the best of those that the study's own people judged, since other people's scores do not compare. Kept as
    well, unless ``keep`` is 0: the training that stands for each side of the rounds (exemplar_of), any of which may be
    the recipe after the next look; and the members of the best ensemble, which ``team`` finds among the complete trials
    that still have weights. Predictions, pictures and configs of all trials are kept. Several workers may do this at
    once.
    """
    kept = {trial.number for trial in best_first(judged_by_study(trials))[:keep]}
    if keep:
        kept.update(_exemplars(trials, folder))
        able = [trial for trial in best_first(judged_by_study(trials)) if holds_weights(trial, folder)]
        if any(trial.number not in kept for trial in able):
            kept.update(team(able))
    for trial in trials:
        if trial.state.is_finished():
            home = trial_folder(folder, trial.number)
            (home / STATE).unlink(missing_ok=True)
            remove_staged_files(home)
            if trial.number not in kept or not holds_weights(trial, folder):
                _weights_of(trial, folder).unlink(missing_ok=True)


def holds_weights(trial: FrozenTrial, folder: Path) -> bool:
    """Whether the study's folder has the weights of a trial that has ended.

    Not those of an earlier run of it: a trial that was interrupted on this machine may have begun anew, and ended, on
    another one that has another folder.
    """
    if not _weights_of(trial, folder).exists():
        return False
    try:
        record = read_record(trial_folder(folder, trial.number))
    except UnusableRunError:
        return True  # nobody can tell
    stamp, digest = record.files.get(WEIGHTS) if record is not None else None, trial.user_attrs.get(WEIGHTS_DIGEST)
    return stamp is None or digest is None or stamp.digest == digest


def _weights_of(trial: FrozenTrial, folder: Path) -> Path:
    return trial_folder(folder, trial.number) / WEIGHTS


def _exemplars(trials: Sequence[FrozenTrial], folder: Path) -> set[int]:
    """Numbers of the trainings that stand for the sides of the rounds, those at each level's own best apart, of those
    whose weights are here: earlier versions and other machines have kept other ones."""
    trainings: dict[tuple[str, bool], list[FrozenTrial]] = {}
    for trial in trials:
        if (level := level_of(trial)) is not None and holds_weights(trial, folder):
            trainings.setdefault((level, is_own_best(trial)), []).append(trial)
    found = [exemplar_of(each) for each in trainings.values()]
    return {trial.number for trial in found if trial is not None}


def trial_folder(folder: Path, number: int) -> Path:
    """The folder of trial ``number`` in its study's folder."""
    return folder / f"trial-{number:04d}"
