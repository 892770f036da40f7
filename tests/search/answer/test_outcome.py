"""benchmarks/outcome.py: who judges whom in a replayed study, what it says of a planted world, and its files."""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import optuna
import pytest
from sklearn.metrics import f1_score

from maskcls.system.errors import UserError

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
import outcome_recording
from outcome_arms import Row
from outcome_data import deal, read_set
from outcome_live import table_of
from outcome_recording import DEFAULT, Judges, Recording, Setup
from outcome_replay import ARMS, FOLDS, World, replay_once, run_study, seeds_recorded
from outcome_study import baseline_of

CLASSES, GROUPS, PHOTOS, EVALUATIONS, CONFIGURATIONS = 3, 120, 3, 3, 10


def setup_of(configurations: int = CONFIGURATIONS, splits: int = 2) -> Setup:
    """Configurations that differ in their learning rates."""
    label_G = np.arange(GROUPS) % CLASSES
    judges = Judges(
        [f"g{group:03d}" for group in range(GROUPS) for _ in range(PHOTOS)], np.repeat(label_G, PHOTOS).tolist(), 60
    )
    values = [baseline_of(1e-3 * (1 + number)) for number in range(configurations)]
    fixed = {"epochs": EVALUATIONS, "backbone": "test_resnet"}
    return Setup("toy", ["a", "b", "c"], fixed, ["test_resnet"], values, 2, [judges] * splits)


def recorded(skill_C: np.ndarray, seed: int = 0) -> Recording:
    """Trainings that are right about a photo with the skill of their configuration, the better the longer."""
    rng, recording = np.random.default_rng(seed), Recording(setup_of(len(skill_C)))
    for key in recording.setup.trainings():
        label_N = np.array(recording.setup.splits[key[0]].label_N)
        shares = skill_C[key[1]] * np.linspace(0.6, 1, EVALUATIONS)[:, None]
        other_EN = (label_N + rng.integers(1, CLASSES, (EVALUATIONS, len(label_N)))) % CLASSES
        said_EN = np.where(rng.random(other_EN.shape) < shares, label_N, other_EN)
        recording.said[key] = said_EN.astype(np.uint8)
    return recording


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def test_no_group_is_in_two_crowds_and_all_crowds_have_all_classes() -> None:
    world = World(recorded(np.full(CONFIGURATIONS, 0.7)), 0, 2, np.random.default_rng(0))
    crowds = [set(np.flatnonzero(weight_P)) for weight_P in world._weight_P]
    assert len(crowds) == 1 + FOLDS + 1
    assert not any(one & other for one, other in combinations(crowds, 2))
    assert [len(crowd) for crowd in crowds[:-1]] == pytest.approx([15, *[12] * FOLDS], abs=2)
    assert all({group % CLASSES for group in crowd} == set(range(CLASSES)) for crowd in crowds)


@pytest.mark.parametrize("seed", range(10))
def test_every_crowd_has_every_class_where_a_fifth_of_its_groups_is_one(seed: int) -> None:
    recording, label_G = recorded(np.full(CONFIGURATIONS, 0.7)), np.arange(112) % 8
    recording.setup.splits[0] = Judges([f"g{group:03d}" for group in range(112)], label_G.tolist(), 48)
    world = World(recording, 0, 2, np.random.default_rng(seed))
    for weight_P in world._weight_P:
        assert set(label_G[weight_P > 0].tolist()) == set(range(8))


@pytest.mark.parametrize("arm", ARMS)
def test_an_export_is_scored_by_the_groups_held_out_and_spends_its_budget(arm: str) -> None:
    recording = recorded(np.linspace(0.5, 0.8, CONFIGURATIONS))
    world = World(recording, 0, 2, np.random.default_rng(1))
    player = ARMS[arm](world, 12, 0)
    export = run_study(world, player)
    held = np.unique(recording.setup.splits[0].group_N)[world._weight_P[-1] > 0]
    judges = recording.setup.splits[0]
    chosen_N = np.isin(judges.group_N, held)
    said = {
        f1_score(np.array(judges.label_N)[chosen_N], row_N[chosen_N], average="macro")
        for seed in range(2)
        for row_N in recording.said[0, export.configuration, seed]
    }
    assert any(export.realised == pytest.approx(score) for score in said)
    assert 12 <= export.spent < 14


def test_the_best_of_equals_promises_too_much_and_our_answer_does_not() -> None:
    recording = recorded(np.full(CONFIGURATIONS, 0.6))
    studies = [replay_once(recording, 2, 12, seed) for seed in range(8)]
    optimism = {arm: np.mean([s.exports[arm].promised - s.exports[arm].realised for s in studies]) for arm in ARMS}
    assert optimism["best_trial"] > 0.05
    assert abs(optimism["ours"]) < 0.5 * optimism["best_trial"]


def test_a_configuration_that_is_much_better_is_found_and_the_default_is_the_first() -> None:
    skill_C = np.full(CONFIGURATIONS, 0.4)
    skill_C[5] = 0.9
    study = replay_once(recorded(skill_C), 2, 16, 0)
    assert {export.configuration for export in study.exports.values()} == {5}
    assert study.default == pytest.approx(0.4, abs=0.06)
    assert DEFAULT == 0
    assert min(study.recipes.values()) > 0.85


def test_a_recording_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    file, setup = tmp_path / "toy.jsonl", setup_of()
    outcome_recording.begin(file, setup)
    photos = GROUPS * PHOTOS
    said = [np.arange(photos) % CLASSES, np.arange(photos)[::-1] % CLASSES]
    outcome_recording.append(file, (1, 2, 0), said, photos)
    outcome_recording.append(file, (1, 3, 0), [], photos)
    with file.open("a") as lines:
        lines.write('{"key": [0, 0')
    again = outcome_recording.begin(file, setup)
    assert again.said[1, 2, 0].tolist() == [row.tolist() for row in said]
    assert again.length((1, 3, 0)) == 0
    outcome_recording.append(file, (1, 4, 0), said, photos)
    assert outcome_recording.load(file).said.keys() == {(1, 2, 0), (1, 3, 0), (1, 4, 0)}
    with pytest.raises(UserError, match="other options"):
        outcome_recording.begin(file, setup_of(4))


def test_an_incomplete_recording_is_refused() -> None:
    recording = recorded(np.full(4, 0.6))
    assert seeds_recorded(recording) == 2
    del recording.said[1, 3, 1]
    with pytest.raises(UserError, match="not complete"):
        seeds_recorded(recording)


def test_too_few_groups_to_judge_are_refused() -> None:
    recording = recorded(np.full(4, 0.6))
    recording.setup.splits[0] = Judges(**{**vars(recording.setup.splits[0]), "trained_groups": 110})
    with pytest.raises(UserError, match="too few"):
        World(recording, 0, 2, np.random.default_rng(0))


def test_groups_are_dealt_once_and_evenly_over_classes() -> None:
    group_N = np.repeat([f"g{number:03d}" for number in range(200)], 2)
    label_N = np.repeat(np.arange(200) % 4, 2)
    parts = deal(group_N, label_N, [0.25, 0.5], np.random.default_rng(3))
    assert not set(parts[0]) & set(parts[1])
    assert [len(part) for part in parts] == pytest.approx([50, 100], abs=2)
    for part, each in zip(parts, (12.5, 25), strict=True):
        classes = np.bincount([int(name[1:]) % 4 for name in part], minlength=4)
        assert np.abs(classes - each).max() <= 2


def test_a_student_begins_with_a_digit_that_is_not_greater(tmp_path: Path) -> None:
    for number, digit in ((7, 0), (8, 1), (9, 5), (11, 5), (12, 6), (13, 2)):
        (tmp_path / "Dataset" / str(digit)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "Dataset" / str(digit) / f"IMG_{number}.JPG").touch()
    table = read_set(f"signs={tmp_path}", tmp_path)[1].table
    assert table["label"].tolist() == ["0", "1", "5", "5", "6", "2"]
    assert table["group"].tolist() == [f"student-{number:03d}" for number in (0, 0, 0, 1, 1, 2)]


def test_alphabets_of_two_archives_are_taken_once_with_drawers_of_their_own(tmp_path: Path) -> None:
    greek, latin = "Greek/character01/0394_01.png", "Latin/character02/0709_01.png"
    for place in (f"one/{greek}", f"two/{greek}", f"two/{latin}"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    table = read_set(f"omniglot={tmp_path}", tmp_path)[1].table
    assert table.to_numpy().tolist() == [
        [f"one/{greek}", "Greek", "Greek 01"],
        [f"two/{latin}", "Latin", "Latin 01"],
    ]


def test_a_table_pairs_each_export_with_our_single_model_of_its_seed() -> None:
    rows = [
        *[(seed, Row("ours, single", 0.6, realised, 10)) for seed, realised in ((0, 0.5), (1, 0.7))],
        *[(seed, Row("Optuna script", 0.8, realised, 10)) for seed, realised in ((0, 0.4), (1, 0.64), (2, 0.1))],
    ]
    cells = [line.split(" | ") for line in table_of("toy", rows).splitlines()[4:]]
    assert cells[0][4] == ""
    assert cells[1][:3] == ["| Optuna script", "3", "0.4000"]
    assert cells[1][4] == "-0.0800 ± 0.0200"
    assert cells[1][6] == "+0.4200 ± 0.1562"
