"""Stored studies whose trials were not trained: their predictions are made up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from optuna.trial import create_trial
from sklearn.metrics import f1_score

from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY, Stored
from search.study.space import distributions
from tests.helpers.search import TOY_STUDY

PEOPLE = 60
PERSON = np.repeat([f"{number:06d}_x_y_30" for number in range(PEOPLE)], 7)
PATH = np.array([f"images/{person}/{photo % 7}.jpg" for photo, person in enumerate(PERSON)])
SPACE = MASK_TASK.space
LABEL = SPACE.encode(
    np.tile([0, 0, 0, 0, 0, 1, 2], PEOPLE),
    np.repeat(np.arange(PEOPLE) % 2, 7),
    np.repeat(np.arange(PEOPLE) // 2 % 3, 7),
)


def store(
    runs: Path,
    name: str,
    task: str,
    predicted: Sequence[np.ndarray],
    split: str = "0123abcd",
    photos: slice = slice(None),
    digest: str = "",
    facts: Sequence[Mapping[str, object]] = (),
    **more: object,
) -> None:
    """A study whose trials, complete, have said these classes of the task, of all photos or some.

    ``facts``: attributes of each trial.
    """
    study = replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, "task": task})
    stored = Stored(study, "synthetic", split, {"source": "scratch"}, "scratch", "auto", False, 0)
    made = create_study(open_storage(default_url(runs), create=True), name, {KEY: {**stored.to_json(), **more}})
    true_N = SPACE.part_of(LABEL, task)[photos]
    for number, said_N in enumerate(predicted):
        predicted_N = said_N[photos]
        value = float(f1_score(true_N, predicted_N, average="macro", zero_division=0))
        params = {"drop_rate": 0.0, "lr": 1e-2}
        own = {**({"weights_digest": digest} if digest else {}), **(facts[number] if facts else {})}
        made.add_trial(
            create_trial(value=value, params=params, distributions=distributions(study.space), user_attrs=own)
        )
        folder = runs / name / f"trial-{number:04d}"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(f'task = "{task}"\n')
        (folder / "best.safetensors").write_bytes(b"weights")
        log_prob_NK = np.log(np.eye(SPACE.predicted(task).num_classes, dtype=np.float32)[predicted_N] + 0.01)
        Predictions(PATH[photos], PERSON[photos], true_N, log_prob_NK).save(folder / "valid.npz")


def wrong(task: str, share: float, seed: int) -> np.ndarray:
    """The truth, but for a share of the photos."""
    rng = np.random.default_rng(seed)
    true_N, size = SPACE.part_of(LABEL, task), SPACE.predicted(task).num_classes
    return np.where(rng.random(len(LABEL)) < share, rng.integers(size, size=len(LABEL)), true_N)
