"""Whose weights stay on the disk."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskcls.run.record import STATE, WEIGHTS
from search.storage.retention import remove_large_files, trial_folder

FACTS = [
    *((0.50 + place / 10, {"round": 0, "place": place, "level": level}) for place, level in enumerate(("off", "on"))),
    *((value, {}) for value in (0.80, 0.82, 0.70)),
    *((value, {"round": 1, "judge_round": 1, "level": level}) for value, level in ((0.99, "off"), (0.4, "on"))),
    *((value, {"round": 2, "judge_round": 2, "level": level}) for value, level in ((0.25, "off"), (None, "on"))),
]
"""(Value, attributes) of round 0, a search, and two rounds, in the last of which a training diverged."""


@pytest.fixture
def trials(tmp_path: Path) -> list[FrozenTrial]:
    made = []
    for number, (value, facts) in enumerate(FACTS):
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        made.append(create_trial(state=state, value=value, user_attrs=facts))
        made[-1].number = number
        folder = trial_folder(tmp_path, number)
        folder.mkdir()
        for name in (WEIGHTS, STATE):
            (folder / name).touch()
    return made


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (0, []),
        (1, [3, 5, 6]),  # the best of the search, and of each side its best training after round 0
        (2, [2, 3, 5, 6]),  # no other training of a round, though its judges were milder
    ],
)
def test_the_weights_of_the_best_trials_and_of_every_side_stay(
    keep: int, kept: list[int], trials: list[FrozenTrial], tmp_path: Path
) -> None:
    remove_large_files(trials, tmp_path, keep, lambda able: ())
    assert [number for number in range(len(trials)) if (trial_folder(tmp_path, number) / WEIGHTS).exists()] == kept
    assert not any((trial_folder(tmp_path, number) / STATE).exists() for number in range(len(trials)))


def test_of_the_trainings_of_a_side_the_best_whose_weights_are_here_counts(
    trials: list[FrozenTrial], tmp_path: Path
) -> None:
    """An earlier version kept the latest one."""
    (trial_folder(tmp_path, 5) / WEIGHTS).unlink()
    remove_large_files(trials, tmp_path, 1, lambda able: ())
    kept = [number for number in range(len(trials)) if (trial_folder(tmp_path, number) / WEIGHTS).exists()]
    assert kept == [3, 6, 7]


def test_the_weights_that_the_best_ensemble_needs_stay(trials: list[FrozenTrial], tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def team(able: Sequence[FrozenTrial]) -> list[int]:
        asked.append([trial.number for trial in able])
        return [0, 4]

    remove_large_files(trials, tmp_path, 1, team)
    kept = [number for number in range(len(trials)) if (trial_folder(tmp_path, number) / WEIGHTS).exists()]
    assert kept == [0, 3, 4, 5, 6]
    remove_large_files(trials, tmp_path, 1, team)
    remove_large_files(trials, tmp_path, 5, team)  # all that are left are among the best five, so there is no choice
    assert asked == [[3, 2, 4, 1, 0], [3, 4, 0]]  # none of a later round
    remove_large_files(trials, tmp_path, 0, team)
    assert len(asked) == 2
    assert not any((trial_folder(tmp_path, number) / WEIGHTS).exists() for number in range(len(trials)))
