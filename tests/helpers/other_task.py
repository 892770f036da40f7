"""Studies of tasks that are not the mask's, without training: hand-made trials on photos that exist in name only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from optuna.trial import TrialState

from maskcls.config import config_to_toml
from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.scoring.judges import Training
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.rounds import Look, look
from maskcls.tasks.declared import task_to_json
from maskcls.tasks.task import Source, Task, Unit
from search.database.connect import create_study, default_url, open_storage
from search.policy.rounds import Planned, RoundPlan
from search.storage.predictions import predictions_of
from search.storage.retention import trial_folder
from search.study.attributes import LOOKS
from search.study.record import KEY, Stored
from tests.helpers.report import VERSIONS, Played, add, ended
from tests.helpers.search import TOY_STUDY

DIAGNOSIS = Factor("diagnosis", ("benign", "malignant", "unclear"))
STAGE = Factor("stage", ("I", "II", "III", "IV"), of_group=True, ordered=True)
SIDE = Factor("side", ("left", "right"), of_group=True)

LESIONS = Task(
    name="lesions",
    space=LabelSpace((DIAGNOSIS, STAGE, SIDE)),
    source=Source("table", "meta.csv", "path", ("diagnosis", "stage", "side"), "patient_id"),
    unit=Unit("patient", "patients"),
    metric="accuracy",
)
"""Three factors, photos by patient, judged by accuracy."""

LEAVES = Task(
    name="leaves",
    space=LabelSpace((Factor("species", tuple(f"species {number}" for number in range(12)), of_group=True),)),
    source=Source("folders"),
    metric="balanced_accuracy",
)
"""One factor, photos without groups, judged by balanced accuracy."""

UNITS, PHOTOS_EACH = 90, 4


def labels_of(task: Task, units: int = UNITS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(path_N, person_N, label_N): every class of a factor that groups have is that of all photos of its group."""
    each = PHOTOS_EACH if task.has_groups else 1
    unit_N, photo_N = np.repeat(np.arange(units), each), np.tile(np.arange(each), units)
    path_N = np.array([f"{unit:03d}/{photo}.jpg" for unit, photo in zip(unit_N, photo_N, strict=True)])
    classes, step = [], 1
    for factor in task.space.factors:
        number_N = unit_N if factor.of_group else unit_N + photo_N
        classes.append(number_N // step % len(factor.classes))
        step *= len(factor.classes) if factor.of_group else 1
    return path_N, path_N if not task.has_groups else np.char.mod("p%03d", unit_N), task.space.encode(*classes)


def store_study(runs: Path, task: Task, *, name: str = "other", part: str = ALL, right: Sequence[float] = ()) -> Played:
    """A study of the task, or of one factor of it, whose trials get so large shares of the photos right."""
    runs.mkdir(exist_ok=True)
    asked = replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, "task": part}, synthetic=False)
    weights = {"source": "scratch"}
    stored = Stored(asked, "/photos", "0123abcd", weights, "scratch", "auto", False, 0, task=task)
    facts = {"question": asked.question, "commit": "0123abcd", "versions": VERSIONS, KEY: stored.to_json()}
    study = create_study(open_storage(default_url(runs), create=True), name, facts, task.metric_words)
    played = Played(study, stored, runs, Path("/photos"))
    for number, share in enumerate(right):
        role = {"role": "baseline"} if number == 0 else {}
        complete(played, 0.5 * (number % 2), 1e-2 / (1 + number), share, **role)
    return played


def complete(
    played: Played, drop_rate: float, lr: float, right: float, fold: int | None = None, **facts: object
) -> int:
    """A complete trial with predictions, of all units or of every third; returns its number."""
    task, space, number = played.stored.task, played.stored.space, len(played.study.get_trials(deepcopy=False))
    path_N, person_N, label_N = labels_of(task)
    label_N = task.space.part_of(label_N, played.stored.baseline_config.task)
    is_judge_N = np.full(len(path_N), True)
    if fold is not None:
        is_judge_N = np.unique(person_N, return_inverse=True)[1] % 3 == fold % 3
    path_N, person_N, label_N = (each_N[is_judge_N] for each_N in (path_N, person_N, label_N))
    rng = np.random.default_rng(number)
    said_N = np.where(rng.random(len(label_N)) < right, label_N, rng.integers(space.num_classes, size=len(label_N)))
    log_prob_NK = np.log(0.8 * np.eye(space.num_classes)[said_N] + 0.2 / space.num_classes).astype(np.float32)
    folder = trial_folder(played.runs / played.study.study_name, number)
    folder.mkdir(parents=True)
    Predictions(path_N, person_N, label_N, log_prob_NK).save(folder / "valid.npz")
    (folder / "best.safetensors").write_bytes(b"weights")
    scores = score(log_prob_NK, label_N, space, task.metric)
    config = played.stored.config({"drop_rate": drop_rate, "lr": lr})
    origin = {"study": played.study.study_name, "trial": number, "split": played.stored.split}
    (folder / "config.toml").write_text(config_to_toml(config, {**origin, "task": task_to_json(task)}))
    written = {"config": json.loads(config.model_dump_json()), "origin": origin, "accuracy": scores.accuracy}
    written |= {"loss": scores.loss, **{f"f1_{part}": value for part, value in scores.f1_per_part.items()}}
    curve = {step: scores.value * step / 4 for step in range(1, 5)}
    add(
        *(played, TrialState.COMPLETE, scores.value, drop_rate, lr, curve),
        {**ended(number, evaluations=4), **written, **facts},
    )
    return number


def play_rounds(played: Played, right: Mapping[float, float], rounds: int = 3) -> None:
    """Rounds by other judges each, and a look after each that says anything. ``right``: drop_rate -> share."""
    reference, *others = (f"drop_rate = {drop_rate}" for drop_rate in right)
    trainings: list[Training] = []
    looks: list[Look] = []
    for number in range(rounds):
        for place, (drop_rate, share) in enumerate(right.items()):
            level = f"drop_rate = {drop_rate}"
            facts: dict[str, object] = {"round": number, "place": place, "level": level, "seed": number}
            if number and place == 0:
                planned = [Planned(f"drop_rate = {each}", {"drop_rate": each, "lr": 1e-2}, number) for each in right]
                facts["round_plan"] = RoundPlan(number, number, tuple(planned)).to_json()
            fold = number if number else None
            trial = complete(played, drop_rate, 1e-2, share, fold, role="round", judge_round=number, **facts)
            shelf = predictions_of(played.study, played.stored, played.runs / played.study.study_name)
            trainings.append(Training(level, number, shelf.counts(played.study.get_trials(deepcopy=False)[trial])))
        made = look(trainings, reference, others, (number + 1) / 6, looks, 0.05, horizon=50.0)
        looks += [made] if made.levels else []
    played.study.set_user_attr(LOOKS, [each.to_json() for each in looks])
