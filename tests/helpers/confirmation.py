"""Confirmations without training: trials whose predictions are right as often as is said."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from search.database.connect import create_study, default_url, has_study, open_storage
from search.policy.confirmation import Plan, PlannedFinalist
from search.storage.retention import trial_folder
from search.study.record import KEY, Stored
from search.study.space import distributions, params_of
from search.study.study import Study
from tests.helpers.search import TOY_STUDY

C, P = TrialState.COMPLETE, TrialState.PRUNED


def stored_as(study: Study, split: str = "0123abcd") -> Stored:
    return Stored(study, "synthetic", split, {"source": "scratch"}, "scratch", "auto", False, 0)


def past(
    study: Study, *runs: tuple[Mapping[str, Any], float], state: TrialState = C, into: optuna.Study | None = None
) -> optuna.Study:
    """A study with a trial for each (knobs that differ from the baseline's, value)."""
    made = into or optuna.create_study(direction="maximize")
    for changes, value in runs:
        params = params_of(study.space, {**study.baseline, **changes})
        seed = {"seed": len(made.get_trials())}
        made.add_trial(
            create_trial(
                state=state,
                value=value,
                params=params,
                distributions=distributions(study.space),
                user_attrs={**seed, "seconds": 7.0, "config": {}, "origin": {}},
            )
        )
    return made


def confirming(
    names: Sequence[str] = ("baseline", "a", "b"),
    repeats: int = 5,
    study: Study = TOY_STUDY,
    weights: Sequence[float] = (),
) -> Stored:
    """The document of a confirmation of ``toy``: finalist i has the baseline's lr times i + 1, and trial i.

    ``weights``: of each in the team that is confirmed.
    """
    base = params_of(study.space, study.baseline)
    finalists = tuple(PlannedFinalist(name, {**base, "lr": 1e-2 * (i + 1)}, (i,)) for i, name in enumerate(names))
    stored = stored_as(replace(study, fixed={**study.fixed, "keep": "last"}))
    return replace(stored, confirmation=Plan("toy", finalists, len(names) - 1, repeats, tuple(weights)).to_json())


PEOPLE = 40
"""Judges of a repeat in ``judged``."""


def judged(
    runs: Path,
    skill: Mapping[str, float],
    repeats: int,
    skip: Sequence[tuple[int, int]] = (),
    task: str = "all",
    weights: Sequence[float] = (),
    done: int | None = None,
) -> tuple[optuna.Study, Stored]:
    """A confirmation in ``runs`` whose finalists are right about so large a share of the photos, and the study.

    ``weights``: of each in the team that is confirmed; ``done``: repeats that were trained, None for all.
    """
    storage = open_storage(default_url(runs), create=True)
    study = replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, "task": task})
    if not has_study(storage, "toy"):
        search_ = create_study(storage, "toy", {KEY: stored_as(study).to_json()})
        past(study, *(({"lr": 1e-2 * (i + 1)}, 0.5 + i / 100) for i in range(len(skill))), into=search_)
    stored = confirming(tuple(skill), repeats, study, weights)
    made = create_study(storage, "toy" + Plan.of_document(stored).suffix, {KEY: stored.to_json()})
    train(made, stored, runs, skill, range(1, (repeats if done is None else done) + 1), skip, task)
    return made, stored


def train(
    made: optuna.Study,
    stored: Stored,
    runs: Path,
    skill: Mapping[str, float],
    repeats: Sequence[int],
    skip: Sequence[tuple[int, int]] = (),
    task: str = "all",
) -> None:
    """Add the trials of these repeats to a confirmation, each with its predictions; those to ``skip`` diverged."""
    rng = np.random.default_rng(min(repeats) - 1)
    for repeat in repeats:
        for index, share in enumerate(skill.values()):
            state = C if (repeat, index) not in skip else P
            number = len(made.get_trials())
            found = answers(rng, repeat, share, task)
            made.add_trial(
                create_trial(
                    state=state,
                    value=score(found.log_prob_NK, found.label_N, MASK_TASK.space.predicted(task)).macro_f1,
                    params=Plan.of_document(stored).finalists[index].params,
                    distributions=distributions(stored.study.space),
                    user_attrs={"repeat": repeat, "finalist": index, "role": "confirmation"},
                )
            )
            folder = trial_folder(runs / made.study_name, number)
            folder.mkdir(parents=True)
            found.save(folder / "valid.npz")


def answers(rng: np.random.Generator, repeat: int, share: float, task: str) -> Predictions:
    """Of the judges of a repeat: seven photos each, of which the model gets that share."""
    person_N = np.repeat([f"{repeat}-{number:02d}" for number in range(PEOPLE)], 7)
    cell_N, mask_N = np.repeat(np.arange(PEOPLE) % 6, 7), np.tile([0, 0, 0, 0, 0, 1, 2], PEOPLE)
    label_N, size = (mask_N * 6 + cell_N, 18) if task == "all" else (mask_N, 3)
    said_N = np.where(rng.random(len(label_N)) < share, label_N, rng.integers(size, size=len(label_N)))
    log_prob_NK = np.log(np.full((len(label_N), size), 0.1 / size, dtype=np.float32))
    log_prob_NK[np.arange(len(label_N)), said_N] = np.log(0.9)
    return Predictions(np.array([f"{i}.jpg" for i in range(len(label_N))]), person_N, label_N, log_prob_NK)
