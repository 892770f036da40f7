"""Splits of groups of different sizes: shares of photos, every class on both sides, nobody on two."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskcls.config import TrainConfig
from maskcls.data.split import (
    check_draws_split,
    check_split,
    choose_judges,
    split_by_person,
    split_photos,
    take_people,
)
from maskcls.data.splitters import (
    MAX_EXHAUSTIVE,
    GroupCounts,
    balances_photos,
    choose_splitter,
    group_folds,
    lonely_classes,
    lonely_text,
    split_given,
    split_uneven,
    too_few_judges,
    too_few_text,
)
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Source, Unit

PATIENTS = Unit("patient", "patients")
PHOTOS = Unit("photo", "photos")


def table(counts: dict[str, Sequence[int]]) -> pd.DataFrame:
    """Photos of groups: name -> photos of class 0, 1, ...; no files behind them."""
    rows = [
        (f"{name}/{label}-{number}.jpg", 1000, name, label)
        for name, photos in counts.items()
        for label, count in enumerate(photos)
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=["path", "bytes", "person", "label"])


def patients(groups: int = 200, median: float = 8, seed: int = 0, classes: int = 6) -> pd.DataFrame:
    """Groups of lognormal sizes, each with its own shares of the classes, of which the last is rare."""
    rng = np.random.default_rng(seed)
    sizes = np.maximum(1, np.exp(rng.normal(np.log(median), 1.2, groups)).astype(int))
    common = np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])[:classes]
    return table(
        {f"p{index:03d}": rng.multinomial(size, rng.dirichlet(3 * common)) for index, size in enumerate(sizes)}
    )


def share_of(photos: pd.DataFrame) -> float:
    return float((photos["split"] == "valid").mean())


def class_shares(photos: pd.DataFrame) -> pd.Series:
    return (photos["split"] == "valid").groupby(photos["label"]).mean()


def valid_groups(photos: pd.DataFrame) -> set[str]:
    return set(photos.loc[photos["split"] == "valid", "person"])


def test_the_splitter_follows_from_the_sizes_of_the_groups() -> None:
    assert choose_splitter(table({"a": [2, 1], "b": [0, 3]})) == "pandas-streaming"
    assert choose_splitter(table({"a": [1], "b": [1], "c": [1]})) == "pandas-streaming"
    assert choose_splitter(table({"a": [2, 1], "b": [0, 4]})) == "stratified-group"


@pytest.mark.parametrize("seed", range(8))
def test_a_fifth_of_the_photos_and_of_every_class_validates_where_groups_are_uneven(seed: int) -> None:
    photos, note = split_uneven(patients(seed=seed), split_seed=seed)
    assert note == ""
    assert 0.15 <= share_of(photos) <= 0.25
    assert class_shares(photos).between(0.1, 0.6).all()
    assert (photos.groupby("person")["split"].nunique() == 1).all()


def test_the_splitter_of_even_groups_fails_at_this() -> None:
    """What the other is for. If this fails, pandas-streaming has learned it."""
    shares = [share_of(split_by_person(patients(40, seed=seed), split_seed=seed)) for seed in range(8)]
    assert sum(0.15 <= share <= 0.25 for share in shares) <= 5
    for seed in range(8):
        assert 0.15 <= share_of(split_uneven(patients(40, seed=seed), split_seed=seed)[0]) <= 0.25


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.4, 0.5, 0.7, 0.8])
def test_other_shares_are_kept_too(share: float) -> None:
    photos, note = split_uneven(patients(), valid_share=share)
    assert note == ""
    assert abs(share_of(photos) - share) <= 0.25 * min(share, 1 - share) + 1e-9


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    for photos in (patients(), patients(6, 40)):
        shuffled = photos.sample(frac=1, random_state=3)
        expected = split_uneven(photos)[0].set_index("path")["split"]
        got = split_uneven(shuffled)[0]
        assert got.index.tolist() == shuffled.index.tolist()
        assert got.set_index("path")["split"].to_dict() == expected.to_dict()


def test_other_processes_split_uneven_groups_alike_whatever_their_hash_seed(tmp_path: Path) -> None:
    program = (
        "import sys, pandas as pd; from maskcls.data.split import *; from maskcls.data.splitters import *; "
        "photos = split_uneven(pd.read_csv(sys.argv[1]))[0]; "
        "print(split_hash(photos), split_hash(choose_judges(photos, 1, 0.2, 0, (), 'stratified-group')))"
    )
    patients().to_csv(tmp_path / "photos.csv", index=False)
    found = set()
    for seed in ("1", "27"):
        call = [sys.executable, "-c", program, str(tmp_path / "photos.csv")]
        done = subprocess.run(
            call, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        found.add(done.stdout.strip())
    (hashes,) = found
    assert len(set(hashes.split())) == 2


@pytest.mark.parametrize("groups", [MAX_EXHAUSTIVE - 4, 15, 40, 200])
def test_seeds_draw_other_groups_the_largest_too(groups: int) -> None:
    photos = patients(groups, 30, classes=3)
    drawn = [valid_groups(split_uneven(photos, split_seed=seed)[0]) for seed in range(20)]
    assert len({frozenset(names) for names in drawn}) >= (4 if groups < 15 else 10)
    fitting = photos["person"].value_counts()
    largest = fitting[fitting <= 0.15 * len(photos)].index[0]
    assert 0 < sum(largest in names for names in drawn) < 20


def test_of_six_sites_the_ones_nearest_to_the_share_validate() -> None:
    photos = table({"a": [60, 30], "b": [20, 10], "c": [40, 20], "d": [10, 5], "e": [45, 22], "f": [24, 14]})
    found = {frozenset(valid_groups(split_uneven(photos, split_seed=seed)[0])) for seed in range(40)}
    total = len(photos)
    for names in found:
        share = photos["person"].isin(names).sum() / total
        assert 0.15 <= share <= 0.25
    assert frozenset("c") in found  # .2
    assert frozenset({"b", "d"}) in found  # .15
    assert frozenset("a") not in found  # .3


def test_two_and_three_groups_are_divided_as_well_as_they_can() -> None:
    photos, note = split_uneven(table({"a": [70, 30], "b": [21, 9]}), unit=PATIENTS)
    assert (valid_groups(photos), note) == ({"b"}, "")  # .23
    photos, note = split_uneven(table({"a": [60, 40], "b": [36, 24]}), unit=PATIENTS)
    assert valid_groups(photos) == {"b"}
    assert note == (
        "The patients differ too much to be split as asked: 38 % of the photos validate, of the classes 38 % to 38 %,"
        " where 20 % was asked (1 patient of 2). Add patients, or choose another valid_share."
    )
    photos, _ = split_uneven(table({"a": [60, 40], "b": [18, 12], "c": [3, 2]}))
    assert valid_groups(photos) == {"b"}  # .22; c has .04, both .26
    with pytest.raises(UserError, match="A split by patient needs at least two patients; the photos show only one"):
        split_uneven(table({"a": [3, 4]}), unit=PATIENTS)


def test_where_nothing_fits_every_class_is_learned_first() -> None:
    # a has a fifth of the photos, but all of class 1 with b: one of the two must train
    photos, note = split_uneven(table({"a": [0, 40], "b": [0, 2], "c": [70, 0], "d": [90, 0]}))
    assert "b" in valid_groups(photos) or "a" in valid_groups(photos)
    assert (class_shares(photos) < 1).all()
    assert "where 20 % was asked" in note


@pytest.mark.parametrize("groups", [8, 60])
def test_a_class_of_one_group_is_learned_and_the_rest_is_split_as_asked(groups: int) -> None:
    photos = patients(groups, 30, classes=3)
    owner = photos["person"].value_counts().index[1]
    photos.loc[photos["person"] == owner, "label"] = 7
    for seed in range(5):
        found, _ = split_uneven(photos, split_seed=seed)
        assert owner not in valid_groups(found)
        assert abs(share_of(found) - 0.2) <= 0.05
        for number in range(1, 6):
            assert owner not in valid_groups(choose_judges(found, number, 0.2, seed, (), "stratified-group"))
    assert lonely_classes(photos) == {7: owner}


def test_many_classes_of_one_group_each_leave_the_others_split_as_asked() -> None:
    owners = {f"q{number:02d}": [0, 0, 0] + [0] * number + [100] for number in range(20)}
    photos = pd.concat([patients(60, 30, classes=3), table(owners)], ignore_index=True)
    found, note = split_uneven(photos)
    assert note == ""
    assert not valid_groups(found) & set(owners)
    assert abs(share_of(found) - 0.2) <= 0.05


def test_lonely_classes_are_told_with_their_group_and_the_remedy() -> None:
    photos = table({"a": [3, 0, 1], "b": [2, 2, 0], "c": [1, 0, 0]})
    assert lonely_classes(photos) == {1: "b", 2: "a"}
    assert lonely_text(lonely_classes(photos), ("cat", "dog", "eel"), PATIENTS) == (
        "2 classes are shown by a single patient each: dog (b), eel (a). To be learned and judged, a class needs"
        " patients on both sides. Add patients that show them, or leave the classes out."
    )
    assert lonely_text({1: "b"}, ("cat", "dog")).startswith("1 class is shown by a single person: dog (b). To be")
    assert lonely_text(lonely_classes(table({"a": [3, 1], "b": [2, 2]})), ("cat", "dog")) == ""


def test_fewer_than_ten_judges_are_told() -> None:
    photos = table({f"p{number}": [1] for number in range(20)})
    valid = photos["person"].isin([f"p{number}" for number in range(10)])
    assert too_few_judges(photos.assign(split=np.where(valid, "valid", "train"))) is None
    valid &= photos["person"] != "p3"
    fewer = photos.assign(split=np.where(valid, "valid", "train"))
    assert too_few_judges(fewer) == 9
    assert too_few_judges(fewer, "train") is None
    assert too_few_text(9, PATIENTS, 40, 0.2) == (
        "NO VERDICT: only 9 patients judge a round, and a verdict needs 10. Add patients, or begin a study where"
        " more of them judge: --set valid_share=0.4."
    )
    lost = "NO VERDICT: only 1 patient judges a round, and a verdict needs 10. Add patients."
    assert too_few_text(1, PATIENTS, 6, 0.2) == lost  # no share is enough
    assert too_few_text(1, PATIENTS, 40, 0.4) == lost  # that was tried


def test_a_given_split_is_taken_as_it_is() -> None:
    photos = table({"a": [3], "b": [2], "c": [1]}).assign(split=["train"] * 3 + ["valid"] * 2 + ["test"])
    assert split_given(photos).equals(photos)
    assert split_photos(photos, "given") == (photos, "")


def test_what_a_given_split_does_not_depend_on_cannot_be_typed() -> None:
    given = replace(MASK_TASK, splitter="given", source=Source("table"))
    few, later = TrainConfig(people=9), TrainConfig(judge_round=2)
    with pytest.raises(UserError) as refused:
        check_draws_split(["lr", "valid_share"], given, TrainConfig(valid_share=0.05))
    assert str(refused.value) == (
        "valid_share=0.05 would change nothing: the data says who trains and who validates. Leave it out, or have the"
        " split drawn: --split none."
    )
    with pytest.raises(UserError, match="split drawn: name a folder that holds the classes themselves"):
        check_draws_split(["split_seed"], replace(given, source=Source("folders")), TrainConfig())
    with pytest.raises(UserError, match=r"^valid_share=.* would change nothing"):
        check_draws_split(["split_seed", "valid_share"], given, few)
    check_draws_split(["split_seed"], given, few)  # it says which people
    check_draws_split(["split_seed", "valid_share"], given, later)  # they say who judges that round
    check_draws_split(["lr"], given, TrainConfig())
    check_draws_split(["split_seed", "valid_share"], MASK_TASK, TrainConfig())


def test_a_given_split_that_leaks_or_lacks_a_side_or_has_other_words_is_refused() -> None:
    photos = table({"a": [3], "b": [2], "c": [1]})
    with pytest.raises(UserError, match="No patient may be on two sides of a split; the given one has 1 patient there"):
        split_given(photos.assign(split=["train"] * 2 + ["test"] + ["valid"] * 3), PATIENTS)
    with pytest.raises(UserError, match="there are none of: valid"):
        split_given(photos.assign(split="train"))
    with pytest.raises(UserError, match="must be one of train, valid, test, not 'dev'; change"):
        split_given(photos.assign(split=["train"] * 3 + ["dev"] * 3))
    with pytest.raises(UserError, match="is to be the one that the data gives, and the data gives none"):
        split_given(photos)
    with pytest.raises(UserError, match="No splitter named 'sorted'"):
        split_photos(photos, "sorted")


def test_folds_hold_equal_shares_of_the_photos_and_of_every_class() -> None:
    counts = GroupCounts.of(*(patients()[name] for name in ("person", "label")))
    fold_G = group_folds(counts.photos_GK, 5, 0)
    photos_FK = np.array([counts.photos_GK[fold_G == fold].sum(0) for fold in range(5)])
    assert np.allclose(photos_FK.sum(1) / photos_FK.sum(), 0.2, atol=0.05)
    assert np.allclose(photos_FK / photos_FK.sum(0), 0.2, atol=0.15)
    assert sorted(set(fold_G)) == list(range(5))
    with_giant_GK = np.concatenate([counts.photos_GK, [[300, 0, 0, 0, 0, 0]]])
    assert len({group_folds(with_giant_GK, 5, seed)[-1] for seed in range(20)}) > 3


def test_folds_of_more_than_the_photos_of_any_class_are_made_without_the_classes() -> None:
    assert sorted(group_folds(np.eye(4, dtype=np.int64), 4, 0)) == [0, 1, 2, 3]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_uneven_rounds_are_judged_by_every_learner_once_with_equal_numbers_of_photos(share: float) -> None:
    photos, _ = split_uneven(patients(), share)
    learners = set(photos["person"]) - valid_groups(photos)
    folds = max(2, round(1 / share))
    rounds = [choose_judges(photos, number, share, 0, (), "stratified-group") for number in range(1, 2 * folds + 1)]
    for deal in (rounds[:folds], rounds[folds:]):
        assert set.union(*map(valid_groups, deal)) == learners
        assert sum(len(valid_groups(found)) for found in deal) == len(learners)
    judged = np.array([(found["split"] == "valid").sum() for found in rounds])
    assert judged == pytest.approx((photos["split"] == "train").sum() / folds, rel=0.25)
    assert valid_groups(rounds[0]) not in [valid_groups(found) for found in rounds[folds:]]
    again = choose_judges(photos.sample(frac=1, random_state=2), 1, share, 0, (), "stratified-group")
    assert valid_groups(again) == valid_groups(rounds[0])
    # folds of as many heads each would not do: their numbers of photos differ by half
    heads = [choose_judges(photos, number, share, 0, ()) for number in range(1, folds + 1)]
    spread = np.ptp([(found["split"] == "valid").sum() for found in heads])
    assert spread > np.ptp(judged[:folds])


def test_uneven_judges_are_stratified_by_the_factors_of_their_groups() -> None:
    photos = patients()
    photos["sex"] = photos["person"].str[-1].astype(int) % 2
    photos, _ = split_uneven(photos)
    sexes = [
        found.loc[found["split"] == "valid", "sex"].mean()
        for found in (choose_judges(photos, number, 0.2, 0, ("sex",), "stratified-group") for number in range(1, 6))
    ]
    assert sexes == pytest.approx([photos.loc[photos["split"] == "train", "sex"].mean()] * 5, abs=0.08)


def test_who_judges_alone_or_who_is_tested_stays_where_they_are() -> None:
    photos = table({"a": [3, 1], "b": [2, 2], "c": [1, 1]}).assign(split=["train"] * 4 + ["valid"] * 4 + ["test"] * 2)
    for splitter in ("given", "stratified-group", "pandas-streaming"):
        for number in (1, 2):
            found = choose_judges(photos, number, 0.2, 0, (), splitter)
            assert found.loc[found["person"] == "c", "split"].eq("test").all()
            assert found.loc[found["person"] == "b", "split"].eq("train").all()
    assert valid_groups(choose_judges(photos, 1, 0.2, 0, (), "given")) == {"a"}


def test_even_groups_without_factors_are_stratified_by_their_most_frequent_label() -> None:
    photos = split_by_person(table({f"p{n:02d}": [(3, 1), (1, 3)][n % 4 == 0] for n in range(80)}))
    rounds = [choose_judges(photos, number, 0.25, 0, ()) for number in range(1, 5)]
    rare = [sum(int(name[1:]) % 4 == 0 for name in valid_groups(found)) for found in rounds]
    assert max(rare) - min(rare) <= 1
    assert max(map(len, map(valid_groups, rounds))) - min(map(len, map(valid_groups, rounds))) <= 1
    taken = take_people(photos, 20, 0, ())
    assert sum(int(name[1:]) % 4 == 0 for name in taken["person"].unique()) == 5


def test_a_given_split_is_balanced_by_the_sizes_of_its_groups() -> None:
    even, uneven = table({"a": [2], "b": [2]}), table({"a": [2], "b": [3]})
    assert [balances_photos(photos, "given") for photos in (even, uneven)] == [False, True]
    # the mask task, also where photos are missing
    assert not balances_photos(uneven, "pandas-streaming")


def test_a_subset_of_uneven_groups_keeps_the_shares_of_photos() -> None:
    photos = patients(400, seed=2)
    most = photos.groupby("person")["label"].agg(lambda labels: labels.value_counts().sort_index().idxmax())
    whole = photos["person"].map(most).value_counts(normalize=True).sort_index()

    def distance(splitter: str) -> float:
        gaps = []
        for seed in range(10):
            taken = take_people(photos, 100, seed, (), splitter)
            assert taken["person"].nunique() == 100
            shares = taken["person"].map(most).value_counts(normalize=True).reindex(whole.index, fill_value=0)
            gaps.append((shares - whole).abs().max())
        return float(np.mean(gaps))

    assert distance("stratified-group") < 0.6 * distance("pandas-streaming")
    fewer, more = (take_people(photos, number, 0, (), "stratified-group") for number in (50, 100))
    assert set(fewer["person"]) < set(more["person"])


def test_messages_speak_of_the_unit() -> None:
    photos = table({"a": [2], "b": [3]})
    with pytest.raises(UserError, match="people must be at most 2, the number of patients in the data, not 3"):
        take_people(photos, 3, 0, (), unit=PATIENTS)
    with pytest.raises(UserError, match="A split by photo needs at least two photos"):
        split_by_person(photos[:1], unit=PHOTOS)
    with pytest.raises(UserError, match="No patients are left for validation; raise valid_share or use more patients"):
        check_split(
            table({"a": [1, 1, 1]}).assign(split="train", label=[0, 6, 12]), replace(MASK_TASK, unit=PATIENTS), "mask"
        )
