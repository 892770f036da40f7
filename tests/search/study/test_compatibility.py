"""Trials whose config trains to other numbers now: the study is refused, and every other goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

import search.worker.create
from maskcls.config import change
from maskcls.data.dataset import Table
from maskcls.system.errors import UserError
from maskcls.training.revision import REVISION, changed_since
from search.database.connect import create_study, load_study, open_storage
from search.study.attributes import REVISION_KEY
from search.study.compatibility import check_revision
from search.study.record import KEY, read_stored
from search.study.space import distributions
from search.study.study import Choice, Float, Study
from search.worker.create import find_or_create
from search.worker.objective import run_trial
from tests.helpers.search import TOY_STUDY, ask, make_job, make_setup, order_for
from tests.helpers.training import TINY, one_line

HEADS = Study(
    question="Does dropout help three heads?",
    scientific={"drop_rate": Choice(0.0, 0.5), "backbone": Choice("levit_128s", "test_efficientnet")},
    nuisance={"lr": Float(1e-3, 1e-1, log=True)},
    fixed={"heads": "three_heads", "image_size": 32, "epochs": 2, "threads": 1},
    baseline={"drop_rate": 0.0, "backbone": "levit_128s", "lr": 1e-2},
    synthetic=True,
)
NO_DROPOUT, ALONE = "had no dropout before the three heads of levit_128s", "had micro-batches of a single photo"


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({}, ""),
        ({"drop_rate": 0.5}, ""),
        ({"heads": "three_heads", "drop_rate": 0.5}, ""),
        ({"heads": "three_models", "drop_rate": 0.5, "backbone": "levit_128s", "image_size": 224}, ""),
        ({"heads": "three_heads", "drop_rate": 0.0, "backbone": "levit_128s", "image_size": 224}, ""),
        ({"heads": "three_heads", "drop_rate": 0.5, "backbone": "levit_128s", "image_size": 224}, NO_DROPOUT),
        ({"batch_size": 33, "micro_batch": 16}, ""),
        ({"batch_size": 32, "micro_batch": 2}, ""),
        ({"batch_size": 33, "micro_batch": 0}, ""),
        ({"batch_size": 33, "micro_batch": 2}, ALONE),
        ({"batch_size": 32, "micro_batch": 1}, ALONE),
    ],
)
def test_what_has_changed_is_said_of_the_configs_that_it_changes(values: dict[str, Any], changed: str) -> None:
    config = change(TINY, **values)
    assert changed_since(1, config) == changed
    assert changed_since(REVISION, config) == ""


def add(study: optuna.Study, of: Study, values: dict[str, Any], **attributes: Any) -> None:
    """A complete trial as an earlier version left it, or with a revision."""
    space = distributions(of.space)
    state = attributes.pop("state", TrialState.COMPLETE)
    trial = create_trial(
        state=state,
        value=0.5 if state == TrialState.COMPLETE else None,
        params={name: values[name] for name in space},
        distributions=space,
        intermediate_values={1: 0.5},
        user_attrs=attributes,
    )
    study.add_trial(trial)


def stored_study(runs: Path, table: Table, name: str = "toy") -> optuna.Study:
    storage = open_storage(f"sqlite:///{runs}/studies.db", create=True)
    create_study(storage, name, {KEY: make_setup(runs, table, HEADS).stored.to_json()})
    return load_study(storage, name)


TOUCHED = {"drop_rate": 0.5, "backbone": "levit_128s", "lr": 0.01}


def test_a_study_with_such_a_trial_is_refused_with_reason_and_remedy(tmp_path: Path, synthetic_table: Table) -> None:
    study = stored_study(tmp_path, synthetic_table)
    for values in ({**TOUCHED, "drop_rate": 0.0}, {**TOUCHED, "backbone": "test_efficientnet"}):
        add(study, HEADS, values)
    add(study, HEADS, TOUCHED, **{REVISION_KEY: REVISION})
    add(study, HEADS, TOUCHED, state=TrialState.FAIL)
    check_revision(study, read_stored(study))
    add(study, HEADS, TOUCHED)
    with pytest.raises(UserError) as caught:
        check_revision(study, read_stored(study))
    assert one_line(caught.value) == (
        f"Trial 4 of 'toy' was trained by an earlier version, which {NO_DROPOUT}; new trials cannot be compared with"
        " it. Begin a new study under another --name."
    )


def test_a_confirmation_of_before_is_to_be_removed(tmp_path: Path, synthetic_table: Table) -> None:
    study = stored_study(tmp_path, synthetic_table, "toy-confirm")
    add(study, HEADS, TOUCHED)
    with pytest.raises(UserError, match=r"Remove the study by search\.delete --study toy-confirm and begin"):
        check_revision(study, replace(read_stored(study), confirmation={"of": "toy"}))


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.WAITING])
@pytest.mark.parametrize("grown_from", [None, "toy"])
def test_nothing_goes_on_with_it_or_copies_it(
    tmp_path: Path,
    synthetic_table: Table,
    monkeypatch: pytest.MonkeyPatch,
    grown_from: str | None,
    state: TrialState,
) -> None:
    monkeypatch.setattr(search.worker.create, "show_estimate", lambda *_: pytest.fail("planned"))
    study = stored_study(tmp_path, synthetic_table)
    add(study, HEADS, TOUCHED, state=state)
    setup = make_setup(tmp_path, synthetic_table, HEADS)
    setup.name = "copy" if grown_from else "toy"
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db", create=False)
    with pytest.raises(UserError, match="was trained by an earlier version"):
        find_or_create(setup, storage, order_for(tmp_path, 9, grown_from))
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/studies.db") == ["toy"]


def test_a_config_that_went_through_counts_and_not_what_was_asked_for(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    values = {"drop_rate": 0.0, "lr": 0.01}
    halved = change(TINY, batch_size=33, micro_batch=2).model_dump(mode="json")
    add(job.study, TOY_STUDY, values, config=halved, **{REVISION_KEY: REVISION})
    check_revision(job.study, job.setup.stored)
    add(job.study, TOY_STUDY, values, config=halved)
    with pytest.raises(UserError, match=ALONE):
        check_revision(job.study, job.setup.stored)


def test_a_trial_of_now_says_so(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    run_trial(job, ask(job))
    attributes = job.study.get_trials()[0].user_attrs
    assert attributes[REVISION_KEY] == attributes["origin"]["revision"] == REVISION
    check_revision(job.study, job.setup.stored)
