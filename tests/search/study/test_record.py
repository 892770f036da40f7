"""The study as it is stored, and what makes a later command ask for another one."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest

from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.system.errors import UserError
from search.study.loading import known_studies, load_study_file
from search.study.record import Stored, check_photos, check_same, read_stored
from search.study.study import Choice, Float, Int, Study, Subset, pin, preview_of
from tests.helpers.training import one_line

STUDY = Study(
    question="Does dropout help?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-4, 1e-2, log=True), "augment": Subset("flip", "blur"), "old_from": Int(57, 60)},
    fixed={"epochs": 3, "image_size": (96, 128), "backbone": "resnet18"},
    baseline={"drop_rate": 0.0, "lr": 1e-3, "augment": ("flip",), "old_from": 60},
)
STORED = Stored(STUDY, "photos", "0123456789ab", {"source": "scratch"}, "auto", "auto", False, 3)


def through_json(stored: Stored) -> Stored:
    return Stored.from_json(json.loads(json.dumps(stored.to_json())))


def refused(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_same(through_json(STORED), replace(STORED, **changes), "dropout")
    text = one_line(caught.value)
    assert "Study 'dropout' is stored with" in text
    assert "--name" in text
    return text


def test_a_study_survives_the_database() -> None:
    back = through_json(STORED)
    assert back.to_json() == STORED.to_json()
    assert back.study.space == STUDY.space
    assert back.study.scientific.keys() == {"drop_rate"}
    values = {"drop_rate": 0.5, "lr": 2e-3, "augment": ("blur",), "old_from": 58}
    assert back.config(values) == STORED.config(values)
    assert back.baseline_config == STORED.baseline_config
    check_same(back, STORED, "dropout")


@pytest.mark.parametrize("name", known_studies())
def test_every_study_of_the_project_survives_the_database(name: str) -> None:
    for study in (load_study_file(name), preview_of(load_study_file(name))):
        stored = replace(STORED, study=study)
        assert through_json(stored).study.space == study.space
        assert through_json(stored).baseline_config == stored.baseline_config


def test_every_trial_trains_with_the_studys_seed() -> None:
    assert STORED.baseline_config.seed == 3
    assert "seed" not in STORED.to_json()["fixed"]


def test_a_later_default_cannot_change_a_stored_study() -> None:
    fixed = STORED.to_json()["fixed"]
    assert fixed["weight_decay"] == 0.01  # nobody said so
    assert fixed["valid_share"] == 0.2
    assert fixed.keys() & STUDY.space.keys() == set()


@pytest.mark.parametrize(
    ("changes", "hints"),
    [
        ({"seed": 4}, ("seed = 3", "says 4")),
        ({"split": "ffff"}, ("split = 0123456789ab", "says ffff")),
        ({"weights": {"source": "folder", "resnet18": "abc"}}, ("weights =", "scratch", "abc")),
        ({"study": replace(STUDY, synthetic=True)}, ("synthetic = False", "says True")),
        ({"study": pin(STUDY, {"epochs": 5})}, ("epochs = 3", "says 5")),
        ({"study": pin(STUDY, {"image_size": 224})}, ("image_size = [96, 128]", "says [224, 224]")),
        ({"study": pin(STUDY, {"weight_decay": 0.1})}, ("weight_decay = 0.01", "says 0.1")),
        ({"study": pin(STUDY, {"lr": 0.002})}, ("lr = tuned, 0.0001 to 0.01 (log)", "0.002")),
    ],
)
def test_a_difference_is_told_with_both_values(changes: dict[str, Any], hints: tuple[str, ...]) -> None:
    text = refused(**changes)
    assert all(hint in text for hint in hints), text


def test_another_range_another_role_and_another_hyperparameter_are_differences() -> None:
    wider = {**STUDY.nuisance, "lr": Float(1e-5, 1e-2, log=True)}
    assert "1e-05" in refused(study=replace(STUDY, nuisance=wider))
    more = {"drop_rate": Choice(0.0, 0.5, 0.7)}
    assert "0.7" in refused(study=replace(STUDY, scientific=more))
    lr = {"lr": STUDY.nuisance["lr"]}
    tuned = {**{name: domain for name, domain in STUDY.nuisance.items() if name != "lr"}}
    text = refused(study=replace(STUDY, scientific={**STUDY.scientific, **lr}, nuisance=tuned))
    assert "lr = tuned" in text
    assert "says compared" in text
    assert "--from" not in text


def test_the_hyperparameter_that_caused_a_difference_comes_before_the_split_and_the_weights() -> None:
    study = pin(STUDY, {"valid_share": 0.3})
    text = refused(study=study, split="ffff", weights={"source": "folder"}, seed=9)
    assert "split" not in text
    assert "valid_share" in refused(study=study, split="ffff", weights={"source": "folder"})
    assert "weights" in refused(split="ffff", weights={"source": "folder"}) or "split" in refused(split="ffff")


def test_where_the_photos_lie_and_how_weights_were_asked_for_makes_no_difference() -> None:
    check_same(STORED, replace(STORED, data="elsewhere", weights_option="scratch"), "dropout")


def test_a_study_that_search_run_did_not_make_is_told_so() -> None:
    with pytest.raises(UserError, match=r"'theirs' in this database was not made by search\.run"):
        read_stored(optuna.create_study(study_name="theirs"))


def photos(content: str, *turned_anew: str) -> Dataset:
    nobody = LabelledPhotos(*[np.empty(0)] * 4)
    return Dataset(np.empty(0), nobody, nobody, "0123456789ab", content=content, turned_anew=turned_anew)


def test_a_study_from_before_goes_on_unless_its_photos_are_turned_another_way_now() -> None:
    values = STORED.to_json()
    del values["photos"]
    old = Stored.from_json(values)
    check_photos(old, photos("aaaa"), "dropout")
    with pytest.raises(UserError) as caught:
        check_photos(old, photos("aaaa", "images/a/normal.jpg"), "dropout")
    text = one_line(caught.value)
    assert "orientation of 1 of its photos (images/a/normal.jpg)" in text
    assert "--name NEW" in text


def test_a_study_from_before_that_left_out_photos_which_are_read_now_is_refused_with_their_names() -> None:
    seen = replace(photos("aaaa"), read_anew=("images/a/normal.tif",))
    for stored in (replace(STORED, photos=""), replace(STORED, photos="aaaa")):
        check_photos(stored, photos("aaaa"), "dropout")
        with pytest.raises(UserError) as caught:
            check_photos(stored, seen, "dropout")
        text = one_line(caught.value)
        assert "left out 1 of its photos (images/a/normal.tif)" in text
        assert "--name NEW" in text
    check_photos(through_json(replace(STORED, photos=seen.seen)), seen, "dropout")  # made since


def test_photos_of_the_same_names_and_sizes_with_other_contents_are_others() -> None:
    stored = through_json(replace(STORED, photos="aaaa"))
    check_photos(stored, photos("aaaa", "images/a/normal.jpg"), "dropout")  # turned as they were when it was made
    with pytest.raises(UserError) as caught:
        check_photos(stored, photos("bbbb"), "dropout")
    assert "other contents (aaaa then, bbbb now)" in one_line(caught.value)
    assert "--name NEW" in one_line(caught.value)


def test_a_run_that_was_cut_off_before_photos_were_turned_does_not_go_on() -> None:
    assert photos("aaaa").identity == "0123456789ab"  # as runs of earlier versions have it
    assert photos("aaaa", "images/a/normal.jpg").identity != "0123456789ab"
