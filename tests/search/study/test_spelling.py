"""One value in two spellings is one value: when a study is written, stored, gone on with, copied and shown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

import search.worker.create
from maskcls.config import canonical
from maskcls.data.dataset import Table
from maskcls.system.errors import UserError
from search.answer.format import describe_values
from search.database.connect import create_study, default_url, load_study, open_storage
from search.findings.status import status_of
from search.policy.policy import Policy
from search.study.domains import describe_domain
from search.study.record import KEY, Stored, check_same, read_stored
from search.study.space import distributions, factors, params_of, values_of
from search.study.study import Choice, Domain, Float, Int, Study, Subset, pin, preview_of
from search.worker.create import find_or_create
from tests.helpers.search import make_setup, order_for
from tests.helpers.training import one_line


def study(name: str, domain: Domain, baseline: Any, **more: Any) -> Study:
    """A study that compares the values of one hyperparameter."""
    given = {"question": "Which?", "nuisance": {}, "fixed": {"epochs": 1}, "scientific": {name: domain}}
    return Study(**{**given, "baseline": {name: baseline}, **more})


def stored(made: Study) -> Stored:
    return Stored(made, "synthetic", "", {}, "scratch", "auto", False, 0)


def refused(*words: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        study(*words, **more)
    return one_line(caught.value)


SPELLINGS = [
    ("image_size", Choice(32, 48), [32, (32, 32), [32, 32], "32x32", 32.0]),
    ("image_size", Choice((32, 32), "48x48"), [32, (32, 32), [32, 32], "32x32"]),
    ("image_size", Choice((32, 48), (48, 32)), [(32, 48), [32, 48], "32x48"]),
    ("image_size", Int(32, 64), [48, (48, 48), "48x48", 48.0]),
    ("crop", Choice(1, 0.8), [1, 1.0, (1.0, 1), "1x1"]),
    ("crop", Float(0.5, 1), [1, (1, 1), 0.7, [0.7, 0.7]]),
    ("augment", Choice("flip", "blur,flip"), ["flip", ("flip",), ["flip"], " flip "]),
    ("augment", Choice((), ("blur", "flip")), ["", (), "flip,blur", ["blur", "flip"]]),
    ("augment", Subset("flip", "blur"), ["", "flip", "blur,flip", ["flip"]]),
    ("batch_size", Choice(16, "32"), [16, "16", 16.0, 32]),
    ("batch_size", Int(8, 64), ["32", 32.0]),
    ("lr", Choice("1e-3", 0.01), [0.001, "0.001", "1e-2"]),
    ("lr", Float(1e-3, 1e-1, log=True), ["1e-2", 0.1]),
]
CASES = [(name, domain, value) for name, domain, values in SPELLINGS for value in values]


@pytest.mark.parametrize(("name", "domain", "value"), CASES, ids=str)
def test_a_baseline_may_be_spelled_otherwise_than_its_hyperparameter(name: str, domain: Domain, value: Any) -> None:
    made = study(name, domain, value)
    assert made.baseline == {name: canonical(name, value)}
    back = Stored.from_json(json.loads(json.dumps(stored(made).to_json()))).study
    assert (back.baseline, back.space) == (made.baseline, made.space)
    first = Policy(back, 0).propose([]).params
    assert first == Policy(made, 0).propose([]).params == params_of(made.space, {name: value})
    assert values_of(back.space, first) == made.baseline
    assert stored(back).config(values_of(back.space, first)) == stored(made).config({name: value})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("batch_size", (16, "16")),
        ("batch_size", (16, 16.0)),
        ("image_size", (32, (32, 32))),
        ("image_size", ("32x48", [32, 48])),
        ("crop", (1, (1.0, 1.0))),
        ("augment", (("flip", "blur"), ("blur", "flip"))),
        ("augment", ("flip,blur", ("blur", "flip"))),
        ("augment", ("flip", ("flip", "flip"))),
        ("lr", (1e-3, "0.001")),
        ("drop_rate", (0, 0.0)),
    ],
)
def test_one_level_in_two_spellings_is_refused(name: str, options: tuple[Any, ...]) -> None:
    text = refused(name, Choice(*options), options[0])
    assert name in text
    assert "different options" in text


@pytest.mark.parametrize(
    ("name", "domain", "value", "hint"),
    [
        ("batch_size", Float(8, 64), 32, "batch_size takes whole numbers only; write Int(8, 64)"),
        ("batch_size", Float(8, 64, log=True), 32, "batch_size takes whole numbers only"),
        ("micro_batch", Float(0, 32), 0, "micro_batch takes whole numbers only"),
        ("old_from", Float(57, 60), 60, "old_from takes whole numbers only"),
        ("image_size", Float(32, 64), 32, "image_size takes whole numbers only"),
        ("threads", Float(0, 4), 1, "threads takes whole numbers only"),
        ("image_size", Int(8, 64), 32, "image_size must be greater than or equal to 16"),
        ("image_size", Int(32, 64), (32, 48), "is outside"),
        ("crop", Int(0, 1), 1, "crop must be greater than 0"),
        ("weight_decay", Int(0, 1), 0.5, "is outside"),
        ("heads", Float(0, 1), 0, "heads must be"),
        ("augment", Float(0, 1), 0, "augment must be"),
    ],
)
def test_a_range_holds_only_what_the_hyperparameter_can_have(name: str, domain: Domain, value: Any, hint: str) -> None:
    assert hint in refused(name, domain, value)


def test_a_range_may_go_beyond_what_suits_the_other_hyperparameters_defaults() -> None:
    assert study("micro_batch", Int(0, 128), 0, fixed={"batch_size": 128}).space == {"micro_batch": Int(0, 128)}


def test_two_hyperparameters_that_cannot_be_together_are_refused_also_as_ranges() -> None:
    domains = {"micro_batch": Int(0, 64), "batch_size": Int(32, 128)}
    with pytest.raises(UserError, match=r"micro_batch \(64\) must not exceed batch_size \(32\)"):
        Study("Which?", nuisance=domains, fixed={}, baseline={"micro_batch": 0, "batch_size": 64})


def test_levels_and_values_are_shown_in_one_form() -> None:
    domain = Choice((32, 32), "48x48", (32, 48))
    (factor,) = factors({"image_size": domain})
    assert [factor.describe(level) for level in range(3)] == [
        "image_size = 32",
        "image_size = 48",
        "image_size = 32+48",
    ]
    assert describe_domain("image_size", domain) == "32 | 48 | 32+48"
    shown = [describe_values(values_of({"image_size": domain}, {"image_size": level})) for level in factor.levels]
    assert shown == ["image_size=32", "image_size=48", "image_size=32+48"]


@pytest.mark.parametrize(
    ("name", "there", "here"),
    [
        ("image_size", Choice((32, 32), 48), Choice("48x48", 32)),
        ("augment", Choice("flip,blur", "flip"), Choice(("flip",), ("flip", "blur"))),
        ("augment", Subset("flip", "blur"), Subset("blur", "flip")),
        ("batch_size", Choice(16, "32"), Choice(32, 16)),
        ("lr", Float(0.01, 1), Float(1e-2, 1.0)),
    ],
)
def test_a_study_goes_on_when_its_file_spells_the_same_values_otherwise(name: str, there: Domain, here: Domain) -> None:
    values = {"augment": "flip", "lr": 0.1, "image_size": 32, "batch_size": 16}
    old, new = stored(study(name, there, values[name])), stored(study(name, here, values[name]))
    check_same(old, new, "toy")
    check_same(new, old, "toy")


def test_a_float_and_an_int_of_the_same_ends_are_two_studies() -> None:
    old = Study("Which?", {"batch_size": Float(8, 64)}, {}, {"batch_size": 32}, is_stored=True)
    new = replace(old, nuisance={"batch_size": Int(8, 64)})
    with pytest.raises(UserError, match=r"tuned, 8 to 64; this command says tuned, 8 to 64 \(whole numbers\)"):
        check_same(stored(old), stored(new), "toy")


OLD = {
    "question": "Which?",
    "scientific": {"image_size": {"kind": "Choice", "options": [[32, 32], 48]}},
    "nuisance": {
        "augment": {"kind": "Choice", "options": ["flip,blur", "flip"]},
        "batch_size": {"kind": "Choice", "options": [16, "32"]},
    },
    "baseline": {"image_size": [32, 32], "augment": ["flip"], "batch_size": 16},
}
"""Parts of a document as they were written before there was one form: options as in the file, the baseline not."""

OLD_PARAMS = {"image_size": "32+32", "augment": "flip,blur", "batch_size": "32"}


def old_study(runs: Path, setup_stored: Stored) -> optuna.Study:
    """A study that an earlier version has stored, with a trial."""
    fixed = {**setup_stored.to_json()["fixed"], "image_size": [64, 64]}
    fixed = {name: value for name, value in fixed.items() if name not in OLD["baseline"]}
    document = {**setup_stored.to_json(), **OLD, "fixed": fixed}
    study = create_study(open_storage(default_url(runs), create=True), "toy", {KEY: document})
    space = read_stored(study).study.space
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=0.5,
        params=OLD_PARAMS,
        distributions=distributions(space),
        user_attrs={"seed": 0},
    )
    study.add_trial(trial)
    return load_study(open_storage(default_url(runs), create=False), "toy")


def respelled(made: Study, *more: Any) -> Study:
    return replace(
        made,
        scientific={"image_size": Choice(48, 32, *more)},
        nuisance={"augment": Choice(("flip",), ("blur", "flip")), "batch_size": Choice(32, 16)},
        fixed={name: value for name, value in made.fixed.items() if name not in OLD["baseline"]},
        baseline={"image_size": "32x32", "augment": "flip", "batch_size": 16},
    )


def test_a_document_of_an_earlier_version_keeps_its_parameters_and_shows_the_one_form(
    tmp_path: Path, synthetic_table: Table
) -> None:
    setup = make_setup(tmp_path, synthetic_table)
    study = old_study(tmp_path, setup.stored)
    found = read_stored(study)
    assert found.study.baseline == {"image_size": 32, "augment": ("flip",), "batch_size": 16}
    assert distributions(found.study.space)["image_size"].choices == ("32+32", 48)  # type: ignore[attr-defined]
    best = status_of(study, found).best
    assert best is not None
    assert best.values == {"image_size": 32, "augment": "flip+blur", "batch_size": 32}
    assert Policy(found.study, 0).propose([]).params == {"image_size": "32+32", "augment": "flip", "batch_size": 16}


def test_it_goes_on_by_a_file_in_any_spelling_under_its_own_parameters(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search.worker.create, "show_estimate", lambda *args: None)
    setup = make_setup(tmp_path, synthetic_table)
    old_study(tmp_path, setup.stored)
    storage = open_storage(default_url(tmp_path), create=False)
    setup.stored = replace(setup.stored, study=respelled(setup.stored.study))
    find_or_create(setup, storage, order_for(tmp_path, 9))
    assert "1 of 9 done" in capsys.readouterr().out
    document = load_study(storage, "toy").user_attrs[KEY]
    assert document["scientific"]["image_size"]["options"] == [[32, 32], 48]
    assert document["nuisance"]["augment"]["options"] == ["flip,blur", "flip"]


def test_a_copy_with_more_options_has_the_old_trials_under_the_new_files_words(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.worker.create, "show_estimate", lambda *args: None)
    setup = make_setup(tmp_path, synthetic_table)
    old_study(tmp_path, setup.stored)
    storage = open_storage(default_url(tmp_path), create=False)
    setup.stored, setup.name = replace(setup.stored, study=respelled(setup.stored.study, 64)), "more"
    find_or_create(setup, storage, order_for(tmp_path, 9, copy_of="toy"))
    copy = load_study(storage, "more")
    (trial,) = copy.get_trials()
    assert trial.params == {"image_size": 32, "augment": "blur+flip", "batch_size": 32}
    assert values_of(read_stored(copy).study.space, trial.params) == {
        "image_size": 32,
        "augment": ("flip", "blur"),
        "batch_size": 32,
    }


def test_a_study_that_would_be_refused_today_is_still_read(tmp_path: Path, synthetic_table: Table) -> None:
    setup = make_setup(tmp_path, synthetic_table)
    document = setup.stored.to_json()
    document["nuisance"] = {"batch_size": {"kind": "Float", "low": 8, "high": 64, "log": False}}
    document["scientific"] = {"lr": {"kind": "Choice", "options": [0.1, "0.1"]}}
    document["baseline"] = {"batch_size": 32, "lr": 0.1}
    found = Stored.from_json(json.loads(json.dumps(document))).study
    assert found.baseline == {"batch_size": 32, "lr": 0.1}
    assert values_of(found.space, {"batch_size": 50.2, "lr": "0.1"}) == {"batch_size": 50.2, "lr": 0.1}


def test_a_preview_and_a_pin_take_any_spelling() -> None:
    made = study("image_size", Choice(224, 300), "224x224", preview={"image_size": Choice((32, 32), 48), "epochs": 2})
    assert preview_of(made).baseline == {"image_size": 32}
    tuned = Study("Which?", {"image_size": Int(32, 64)}, {}, {"image_size": 48})
    assert pin(tuned, {"image_size": "40x40"}).fixed["image_size"] == 40
