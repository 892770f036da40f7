"""What a study's trials cannot be built with is found out before the first of them; which weights they had is kept."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from optuna.trial import create_trial
from torch import nn

import search.worker.estimate
import search.worker.job
import search.worker.make_job
from maskcls.config import TrainConfig
from maskcls.data.dataset import Table
from maskcls.model.weights import Weights
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import PHOTO, Unit
from maskcls.training.speed import Speed
from search.policy.phases import phases
from search.policy.stopping import StoppingCriteria
from search.study.record import KEY, read_stored
from search.study.study import Choice, Domain, Float, Study
from search.worker.estimate import show_estimate
from search.worker.job import Setup
from search.worker.plan import describe_own_rounds, describe_rounds, findable, phases_at_own_best, show_plan
from tests.helpers.search import TOY_STUDY, make_job, make_setup, order_for
from tests.helpers.training import one_line


def study_of(nuisance: dict[str, Domain], baseline: dict[str, Any]) -> Study:
    return Study(
        question="Does it help?",
        scientific={"label_smoothing": Choice(0.0, 0.1)},
        nuisance=nuisance,
        fixed={"epochs": 1, "threads": 1, **({} if "image_size" in nuisance else {"image_size": 32})},
        baseline={"label_smoothing": 0.0, **baseline},
        synthetic=True,
    )


def refusal(study: Study, runs: Path, table: Table) -> str:
    setup = make_setup(runs, table, study)
    with pytest.raises(UserError) as caught:
        show_estimate(setup, setup.dataset(setup.baseline), 1, 1)
    return one_line(caught.value)


def test_a_size_that_one_of_the_backbones_cannot_take_is_found(tmp_path: Path, synthetic_table: Table) -> None:
    sizes = Choice((32, 32), (50, 70))
    domains: dict[str, Domain] = {"backbone": Choice("test_efficientnet", "test_vit"), "image_size": sizes}
    baseline = {"backbone": "test_efficientnet", "image_size": (32, 32)}
    error = refusal(study_of(domains, baseline), tmp_path, synthetic_table)
    assert error.startswith("timm cannot build test_vit for 50 x 70 pixels")


@pytest.mark.parametrize("domain", [Choice(0.0, 0.5, 0.2), Float(0.0, 0.5)])
def test_dropout_that_would_do_nothing_is_found_though_the_baseline_has_none(
    domain: Domain, tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timm.create_model

    def without(*words: Any, drop_rate: float, **options: Any) -> nn.Module:
        net: nn.Module = real(*words, **options)
        return net

    monkeypatch.setattr(timm, "create_model", without)
    study = study_of({"drop_rate": domain, "backbone": Choice("test_efficientnet", "test_vit")},
                     {"drop_rate": 0.0, "backbone": "test_efficientnet"})  # fmt: skip
    assert "drop_rate=0.5 would do nothing" in refusal(study, tmp_path, synthetic_table)


@pytest.mark.parametrize(
    ("name", "domain", "off", "words"),
    [
        ("drop_path_rate", Float(0.0, 0.2), 0.0, "drop_path_rate=0.2 would do nothing"),
        ("layer_decay", Choice(1.0, 0.7, 0.9), 1.0, "layer_decay below 1 would do nothing"),
        ("frozen_share", Choice(0.0, 0.2), 0.0, "frozen_share=0.1 cannot be"),
    ],
)
def test_what_a_backbone_lacks_is_found_though_the_baseline_has_none(
    name: str,
    domain: Domain,
    off: float,
    words: str,
    tmp_path: Path,
    synthetic_table: Table,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("maskcls.model.classifier.head_names", lambda _: set())
    monkeypatch.setattr("maskcls.model.layers.group_parameters", lambda *_, **__: {})
    domains: dict[str, Domain] = {name: domain, "backbone": Choice("test_vit", "test_efficientnet")}
    assert words in refusal(study_of(domains, {name: off, "backbone": "test_vit"}), tmp_path, synthetic_table)


def test_the_time_of_every_optimizer_and_of_mirrored_photos_is_measured(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[TrainConfig] = []

    def measure_speed(config: TrainConfig, *_: object) -> Speed:
        timed.append(config)
        return Speed(1000.0, 1000.0)

    monkeypatch.setattr(search.worker.estimate, "measure_speed", measure_speed)
    domains: dict[str, Domain] = {
        "optimizer": Choice("adamw", "lamb"),
        "tta": Choice("none", "flip"),
        "frozen_share": Float(0.0, 0.5),
    }
    setup = make_setup(
        tmp_path,
        synthetic_table,
        study_of(domains, {"optimizer": "adamw", "tta": "none", "frozen_share": 0.0}),
    )
    show_estimate(setup, setup.dataset(setup.baseline), 4, 1)
    ways = [(config.optimizer, config.tta) for config in timed]
    assert sorted(ways) == [("adamw", "flip"), ("adamw", "none"), ("lamb", "flip"), ("lamb", "none")]
    assert {config.frozen_share for config in timed} == {0.25}  # the mean


@pytest.fixture
def gpu_setup(tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch) -> Callable[[Study], Setup]:
    """A study's setup on a GPU that trains and judges 1000 photos a second."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(search.worker.job, "choose_numerics", lambda config, *_: config)

    def make(study: Study) -> Setup:
        setup = make_setup(tmp_path, synthetic_table, study)
        setup.device = torch.device("cuda:0")
        return setup

    return make


def test_on_a_gpu_only_the_baseline_takes_steps(
    gpu_setup: Callable[[Study], Setup], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timed: list[TrainConfig] = []

    def measure_speed(config: TrainConfig, *_: object) -> Speed:
        timed.append(config)
        return Speed(1000.0, 1000.0)

    monkeypatch.setattr(search.worker.estimate, "measure_speed", measure_speed)
    domains: dict[str, Domain] = {"backbone": Choice("test_vit", "test_efficientnet"), "drop_rate": Float(0.0, 0.5)}
    setup = gpu_setup(study_of(domains, {"backbone": "test_efficientnet", "drop_rate": 0.0}))
    show_estimate(setup, setup.dataset(setup.baseline), 4, 1)
    (config,) = timed
    assert (config.backbone, config.drop_rate, config.dtype) == ("test_efficientnet", 0.5, "bfloat16")
    assert " a trial like the baseline, " in capsys.readouterr().out
    setup = gpu_setup(study_of({"drop_rate": Float(0.0, 0.5)}, {"drop_rate": 0.0}))
    show_estimate(setup, setup.dataset(setup.baseline), 4, 1)
    assert "like the baseline" not in capsys.readouterr().out


def test_on_a_gpu_too_every_model_is_built_before_the_first_trial(
    gpu_setup: Callable[[Study], Setup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.worker.estimate, "measure_speed", lambda *_: Speed(1000.0, 1000.0))
    domains: dict[str, Domain] = {
        "backbone": Choice("test_efficientnet", "test_vit"),
        "image_size": Choice((32, 32), (50, 70)),
    }
    setup = gpu_setup(study_of(domains, {"backbone": "test_efficientnet", "image_size": (32, 32)}))
    with pytest.raises(UserError, match="timm cannot build test_vit for 50 x 70 pixels"):
        show_estimate(setup, setup.dataset(setup.baseline), 4, 1)
    setup = gpu_setup(study_of({"backbone": Choice("test_efficientnet", "test_vit")}, {"backbone": "test_vit"}))
    damaged = tmp_path / "test_efficientnet.safetensors"
    damaged.write_bytes(b"no weights")
    setup.weights = Weights("folder", {"test_efficientnet": damaged})
    with pytest.raises(UserError, match="test_efficientnet"):
        show_estimate(setup, setup.dataset(setup.baseline), 4, 1)


@pytest.mark.parametrize("copy_of", [None, "toy"])
def test_the_weights_of_a_stored_study_are_asked_for_by_its_commits(
    copy_of: str | None, tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    commits = {"test_efficientnet": "a" * 40}
    job.study.set_user_attr(KEY, {**job.setup.stored.to_json(), "weights_commits": commits})
    asked: list[dict[str, str]] = []

    def resolve(option: str, backbones: list[str], commits: dict[str, str]) -> Weights:
        asked.append(commits)
        return Weights("pretrained", {}, commits={"test_efficientnet": "b" * 40})

    monkeypatch.setattr(search.worker.make_job, "resolve_weights", resolve)
    monkeypatch.setattr(search.worker.make_job, "read_table", lambda *_: synthetic_table)
    monkeypatch.setattr(search.worker.make_job, "prepare_data_folder", lambda *_: tmp_path)
    order = replace(order_for(tmp_path, 1, copy_of), requested=job.setup.stored, name="copy" if copy_of else "toy")
    assert search.worker.make_job.set_up(order).stored.weights_commits == {"test_efficientnet": "b" * 40}
    search.worker.make_job.set_up(replace(order, name="another", copy_of=None))
    assert asked == [commits, {}]


def test_a_study_of_before_has_no_commits(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table, TOY_STUDY)
    document = job.setup.stored.to_json()
    del document["weights_commits"]
    job.study.set_user_attr(KEY, document)
    assert read_stored(job.study).weights_commits == {}


def test_on_a_shared_gpu_the_time_is_a_range(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = make_setup(tmp_path, synthetic_table)
    show_estimate(setup, setup.dataset(setup.baseline), 6, 6, 3)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"  time      about .+ a trial that has its GPU alone; 3 workers share one, so", lines[0])
    assert re.fullmatch(r"            .+ to .+ for 6 if none is pruned", lines[1])


def test_the_plan_says_what_a_study_costs_and_what_it_can_show() -> None:
    four = ["drop_rate = 0.2", "drop_rate = 0.5", "drop_rate = 0.7"]
    assert describe_rounds(phases(50, 4, 0.45, compares=True), four, judges=432) == [
        "4 at the baseline's setting, 20 of the search, 26 in rounds; the cost is that of about 39 full trainings",
        "a difference of about .06 would be found four times in five (4 levels)",
    ]
    assert describe_rounds(phases(30, 1, 0.45, compares=False), 3, judges=432)[1].endswith("(3 finalists)")
    few = describe_rounds(phases(50, 4, 0.45, compares=True), four, judges=8, too_few="NO VERDICT: only 8.")
    assert few[1:] == ["NO VERDICT: only 8."]
    short = describe_rounds(phases(3, 2, 0.45, compares=True), four[:1], judges=8, too_few="NO VERDICT: only 8.")
    assert short[1:] == ["too few for a round after the first, so there will be no answer", "NO VERDICT: only 8."]
    none = describe_rounds(phases(3, 2, 0.45, compares=True), four[:1], judges=40)
    assert none[1] == "too few for a round after the first, so there will be no answer"


def test_more_trials_and_more_judges_show_smaller_differences() -> None:
    found = [findable(phases(n, 4, 0.45, compares=True), 3, judges) for n, judges in ((30, 400), (50, 400), (50, 4000))]
    assert found == sorted(found, reverse=True)


def test_the_plan_of_rounds_at_its_own_best_counts_them_alone() -> None:
    own = {"own_best": True, "round": 7}
    facts = {"params": {}, "distributions": {}, "value": 0.5}
    trials = [create_trial(**facts) for _ in range(40)] + [create_trial(user_attrs=own, **facts) for _ in range(5)]
    found = phases_at_own_best(StoppingCriteria(70, own_best=True), trials)
    assert (found.first, found.search, found.rounds) == (0, 0, 30)
    four = ("drop_rate = 0.2", "drop_rate = 0.5", "drop_rate = 0.7")
    assert describe_own_rounds(found, four, judges=432) == [
        "30 trainings in rounds with each level at its own best setting",
        "a difference of about .08 would be found four times in five (4 levels)",
    ]
    few = phases_at_own_best(StoppingCriteria(47, own_best=True), trials)
    assert describe_own_rounds(few, four, judges=432)[1] == "too few for two rounds, so there will be no answer"
    assert describe_own_rounds(found, four, judges=8, too_few="NO VERDICT: only 8.")[1] == "NO VERDICT: only 8."


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ["60 people, 420 photos", "by person, {}: train 48 people, 336 photos; valid 12 people, 84 photos"]),
        (
            {"unit": Unit("patient", "patients"), "splitter": "given"},
            ["60 patients, 420 photos", "as the data says, {}: train 48 patients, 336 photos; valid 12 patients, 84"],
        ),
        ({"unit": PHOTO}, ["60 photos", "by photo, {}: train 48 photos; valid 12 photos"]),
    ],
)
def test_the_plan_counts_in_the_units_of_the_task(
    tmp_path: Path,
    synthetic_table: Table,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    told: list[str],
) -> None:
    setup = make_setup(tmp_path, synthetic_table)
    task = replace(MASK_TASK, **changed)
    setup = replace(setup, stored=replace(setup.stored, task=task))
    show_plan(setup, StoppingCriteria(12), 1)
    printed = capsys.readouterr().out
    for text in told:
        assert text.format(synthetic_table.hash) in printed
    assert ("the data names no groups: photos of one subject may be on both sides" in printed) == (task.unit == PHOTO)


def test_a_class_without_photos_counts_as_the_metric_has_it(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = synthetic_table.photos
    few = replace(synthetic_table, photos=photos[(photos["split"] == "train") | (photos["label"] != 0)])
    for metric, told in (("macro_f1", "Their F1 counts 0"), ("accuracy", "They count for nothing in accuracy")):
        setup = make_setup(tmp_path, few)
        setup = replace(setup, stored=replace(setup.stored, task=MASK_TASK.judged_by(metric)))
        show_plan(setup, StoppingCriteria(12), 1)
        assert f"NO VALIDATION PHOTO OF: worn, male, under 30. {told} in every trial." in capsys.readouterr().out
