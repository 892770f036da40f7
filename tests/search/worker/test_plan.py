"""What a study's trials cannot be built with is found out before the first of them; which weights they had is kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
from torch import nn

import search.worker.worker
from maskcls.data.dataset import Table
from maskcls.model.weights import Weights
from maskcls.system.errors import UserError
from search.policy.phases import phases
from search.study.record import KEY, read_stored
from search.study.study import Choice, Domain, Float, Study
from search.worker.plan import describe_rounds, findable, show_estimate
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

    monkeypatch.setattr(search.worker.worker, "resolve_weights", resolve)
    monkeypatch.setattr(search.worker.worker, "read_table", lambda *_: synthetic_table)
    monkeypatch.setattr(search.worker.worker, "prepare_data_folder", lambda *_: tmp_path)
    order = replace(order_for(tmp_path, 1, copy_of), requested=job.setup.stored, name="copy" if copy_of else "toy")
    assert search.worker.worker._set_up(order).stored.weights_commits == {"test_efficientnet": "b" * 40}
    search.worker.worker._set_up(replace(order, name="another", copy_of=None))
    assert asked == [commits, {}]


def test_a_study_of_before_has_no_commits(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table, TOY_STUDY)
    document = job.setup.stored.to_json()
    del document["weights_commits"]
    job.study.set_user_attr(KEY, document)
    assert read_stored(job.study).weights_commits == {}


def test_the_plan_says_what_a_study_costs_and_what_it_can_show() -> None:
    four = ["drop_rate = 0.2", "drop_rate = 0.5", "drop_rate = 0.7"]
    assert describe_rounds(phases(50, 4, 0.45, compares=True), four, judges=432) == [
        "4 at the baseline's setting, 20 of the search, 26 in rounds; the cost is that of about 39 full trainings",
        "a difference of about .06 would be found four times in five (4 levels)",
    ]
    assert describe_rounds(phases(30, 1, 0.45, compares=False), 3, judges=432)[1].endswith("(3 finalists)")
    few = describe_rounds(phases(50, 4, 0.45, compares=True), four, judges=8)
    assert few[1] == "TOO FEW PEOPLE: 8 judge a round; with fewer than 10 chance decides."
    none = describe_rounds(phases(3, 2, 0.45, compares=True), four[:1], judges=40)
    assert none[1] == "too few for a round after the first, so there will be no answer"


def test_more_trials_and_more_judges_show_smaller_differences() -> None:
    found = [findable(phases(n, 4, 0.45, compares=True), 3, judges) for n, judges in ((30, 400), (50, 400), (50, 4000))]
    assert found == sorted(found, reverse=True)
