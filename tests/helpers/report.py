"""A study without training: hand-made trials whose predictions, on the drawn photos, are right as often as is said."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from maskcls.config import change
from maskcls.data.dataset import Table, read_table, with_judges
from maskcls.scoring.judges import Training
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.rounds import OWN_TUNING, TUNING, Look, look
from maskcls.tasks.mask import MASK_TASK
from search.database.connect import create_study, default_url, open_storage
from search.findings.evidence import answer_of
from search.page.data import Material, ReportOptions
from search.policy.rounds import Planned, RoundPlan
from search.storage.predictions import StudyPredictions
from search.storage.retention import trial_folder
from search.study.attributes import LOOKS, OWN_LOOKS
from search.study.record import KEY, Stored
from search.study.space import distributions
from tests.helpers.search import TOY_STUDY
from tests.helpers.training import TINY

VERSIONS = {"python": "3.11", "torch": "2.11"}


@dataclass(frozen=True)
class Played:
    """A stored study, and where its things are."""

    study: optuna.Study
    stored: Stored
    runs: Path
    photos: Path

    def material(self, **options: Any) -> Material:
        """What the report is made from."""
        answer = answer_of(self.study, self.stored, self.runs)
        return Material(self.study, self.stored, answer, ReportOptions(self.runs, **options))


def make_study(runs: Path, photos: Path, *, name: str = "toy", trials: bool = True) -> Played:
    """A dozen complete trials, two pruned ones, one that diverged and one that runs."""
    config = change(TINY, valid_share=0.4)
    table = read_table(photos, config)
    asked = replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, "valid_share": 0.4})
    stored = Stored(asked, str(photos), table.hash, {"source": "scratch"}, "scratch", "auto", False, 0)
    facts = {"question": asked.question, "commit": "0123abcd", "versions": VERSIONS, KEY: stored.to_json()}
    study = create_study(open_storage(default_url(runs), create=True), name, facts)
    played = Played(study, stored, runs, photos)
    if trials:
        _play(played, table)
    return played


def _play(played: Played, table: Table) -> None:
    complete(played, table, 0, 0.0, 1e-2, role="baseline", right=0.45)
    complete(played, table, 1, 0.5, 1e-2, right=0.88)
    pruned(played, table, 2, 0.0, 5e-2)
    for number in range(3, 9):
        complete(played, table, number, 0.5 * (number % 2), 1e-3 * number, right=0.25 + 0.02 * number)
    complete(played, table, 9, 0.5, 1e-2, role="replicate", seed=9, right=0.72)
    complete(played, table, 10, 0.0, 1e-2, role="replicate", seed=10, right=0.5)
    pruned(played, table, 11, 0.5, 6e-2)
    add(played, TrialState.PRUNED, None, 0.5, 9e-2, {}, {"failure_kind": "diverged", "error": "not finite"})
    complete(played, table, 13, 0.0, 2e-3, right=0.3)
    add(played, TrialState.RUNNING, None, 0.0, 3e-3, {1: 0.1}, {})


def complete(
    played: Played, table: Table, number: int, drop_rate: float, lr: float, *, right: float, **attributes: Any
) -> None:
    value = predict(played, table, number, right)
    curve = {step: value * step / 4 for step in range(1, 5)}
    facts = {**ended(number, evaluations=4), **value_facts(played, number), **attributes}
    add(played, TrialState.COMPLETE, value, drop_rate, lr, curve, facts)


def pruned(played: Played, table: Table, number: int, drop_rate: float, lr: float) -> None:
    value = predict(played, table, number, 0.2)
    add(played, TrialState.PRUNED, value, drop_rate, lr, {1: value / 2, 2: value}, ended(number, evaluations=2))


def add(
    played: Played,
    state: TrialState,
    value: float | None,
    drop_rate: float,
    lr: float,
    curve: dict[int, float],
    facts: dict[str, Any],
) -> None:
    played.study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=value,
            params={"drop_rate": drop_rate, "lr": lr},
            distributions=distributions(played.stored.study.space),
            intermediate_values=curve,
            user_attrs=facts,
        )
    )


def ended(number: int, evaluations: int) -> dict[str, Any]:
    """What a trial writes down at its end."""
    speed = {"photos_per_second": 100.0, "peak_gib": 1.5}
    seconds = 10.0 * evaluations + number
    return {"evaluations": evaluations, "evaluations_planned": 4, "seconds": seconds, "device": "cpu, 2 cores", **speed}


def predict(played: Played, table: Table, number: int, right: float) -> float:
    """Write the trial's valid.npz: each photo right with this probability, else of some other age; returns macro F1."""
    rng = np.random.default_rng(number)
    side = table.photos[table.photos["split"] == "valid"]
    label_N = side["label"].to_numpy().astype(np.int64)
    other_N = label_N - label_N % 3 + (label_N + rng.integers(1, 3, len(label_N))) % 3
    other_N = np.where(rng.random(len(label_N)) < 0.3, rng.integers(18, size=len(label_N)), other_N)
    called_N = np.where(rng.random(len(label_N)) < right, label_N, other_N)
    sure_N = rng.uniform(0.4, 0.99, len(label_N))
    prob_NK = np.repeat(((1 - sure_N) / 17)[:, None], 18, axis=1)
    prob_NK[np.arange(len(label_N)), called_N] = sure_N
    folder = trial_folder(played.runs / played.study.study_name, number)
    folder.mkdir(parents=True, exist_ok=True)
    names = (side[column].to_numpy(dtype=str) for column in ("path", "person"))
    Predictions(*names, label_N, np.log(prob_NK).astype(np.float32)).save(folder / "valid.npz")
    return score(np.log(prob_NK).astype(np.float32), label_N, MASK_TASK.space).macro_f1


def value_facts(played: Played, number: int) -> dict[str, Any]:
    """The scores that a trial writes down."""
    found = Predictions.load(trial_folder(played.runs / played.study.study_name, number) / "valid.npz")
    scores = score(found.log_prob_NK, found.label_N, MASK_TASK.space)
    parts = {f"f1_{part}": value for part, value in scores.f1_per_part.items()}
    return {**parts, "accuracy": scores.accuracy, "loss": scores.loss}


def play_rounds(
    played: Played,
    right: Mapping[float, float],
    rounds: int,
    *,
    end: int = 6,
    matters: float = 0.05,
    own_lr: Mapping[float, float] | None = None,
    valid_share: float = 0.4,
) -> None:
    """Rounds of the study ``played``, by other judges from round 1 on, and a look after each that says anything.

    ``right``: drop_rate -> the share of photos that its trainings get right; the first is the reference.
    ``end``: number of rounds that were planned. ``own_lr``: drop_rate -> its own best lr, for rounds with each level at
    its own best setting, which come after the others;
    ``valid_share``: .4 has 18 judges a round, .15 has 7.
    """
    config = change(TINY, valid_share=valid_share)
    table = read_table(played.photos, config)
    reference, *others = (f"drop_rate = {drop_rate}" for drop_rate in right)
    trainings: list[Training] = []
    looks: list[Look] = []
    known = [trial.user_attrs.get("round", -1) for trial in played.study.get_trials(deepcopy=False)]
    first = max(known) + 1 if own_lr else 0
    for number in range(first, first + rounds):
        judges = with_judges(table, change(config, judge_round=number))
        for place, (drop_rate, share) in enumerate(right.items()):
            trial = len(played.study.get_trials(deepcopy=False))
            name = f"drop_rate = {drop_rate}"
            common_lr = 2e-3 * (1 + number) if number else 1e-2
            lr = own_lr[drop_rate] if own_lr else common_lr
            values = {"drop_rate": drop_rate, "lr": lr, "judge_round": number}
            facts = {
                **{"round": number, "place": place, "level": name, "judge_round": number, "seed": number},
                "config": json.loads(played.stored.config(values, number).model_dump_json()),
                "origin": {"study": played.study.study_name, "trial": trial, "split": judges.hash},
            }
            if number and place == 0:
                lrs = own_lr or dict.fromkeys(right, lr)
                planned = [
                    Planned(f"drop_rate = {each}", {"drop_rate": each, "lr": lrs[each]}, number) for each in right
                ]
                facts["round_plan"] = RoundPlan(number, number, tuple(planned), bool(own_lr)).to_json()
            if own_lr:
                facts["own_best"] = True
            complete(played, judges, trial, drop_rate, lr, right=share, role="round", **facts)
            shelf = StudyPredictions(played.runs / played.study.study_name, MASK_TASK.space)
            trainings.append(Training(name, number, shelf.counts(played.study.get_trials(deepcopy=False)[trial])))
        share, tuning = (number + 1 - first) / end, OWN_TUNING if own_lr else TUNING
        made = look(trainings, reference, others, share, looks, matters, horizon=50.0, tuning=tuning)
        looks += [made] if made.levels else []
    played.study.set_user_attr(OWN_LOOKS if own_lr else LOOKS, [each.to_json() for each in looks])
