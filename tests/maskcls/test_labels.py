"""Label spaces: the 18 classes against the competition's table, and spaces of one, two and four factors."""

import itertools
import json

import numpy as np
import pytest

from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.tasks.mask import MASK_TASK

MASKED = MASK_TASK.space
TABLE = [(mask, gender, age) for mask in range(3) for gender in range(2) for age in range(3)]
"""The competition numbers the classes in this order."""

FLOWER = Factor("flower", ("aster", "iris", "rose", "tulip", "violet"))
SEX = Factor("sex", ("male", "female"), of_group=True, short=("M", "F"), plural=("men", "women"), typed=("m", "f"))
SEASON = Factor("season", ("spring", "summer", "autumn"), short=("sp", "su", "au"))
SIDE = Factor("side", ("left", "right"))
ONE, TWO, FOUR = LabelSpace((FLOWER,)), LabelSpace((SEX, SEASON)), LabelSpace((SIDE, FLOWER, SEX, SEASON))
SPACES = {"one": ONE, "two": TWO, "three": MASKED, "four": FOUR}

every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@pytest.mark.parametrize("label", range(18))
def test_every_class_of_the_mask_task_is_taken_apart_and_put_together_again(label: int) -> None:
    parts = tuple(MASKED.part_of(label, part) for part in ("mask", "gender", "age"))
    assert parts == TABLE[label]
    assert MASKED.encode(*parts) == label
    assert MASKED.part_of(label, "all") == label


def test_the_mask_task_has_the_competitions_classes() -> None:
    assert MASKED.parts == ("mask", "gender", "age")
    assert MASKED.sizes == (3, 2, 3)
    assert MASKED.num_classes == 18
    assert MASKED.names[0] == "worn, male, under 30"
    assert MASKED.names[17] == "not worn, female, 60 and over"
    assert MASKED.short_names[4] == "worn F 30-59"
    assert MASKED.factor("gender").plural_names == ("men", "women")
    assert MASKED.factor("mask").plural_names == ("worn", "incorrect", "not worn")
    assert MASKED.factor("age").typed_names == ("young", "middle", "old")


@pytest.mark.parametrize(("space", "classes"), [(ONE, 5), (TWO, 6), (MASKED, 18), (FOUR, 60)])
def test_there_is_a_class_for_every_combination(space: LabelSpace, classes: int) -> None:
    assert space.num_classes == len(space.names) == len(space.short_names) == len(set(space.names)) == classes


@every_space
def test_labels_count_up_with_the_last_factor_changing_fastest(space: LabelSpace) -> None:
    combinations = list(itertools.product(*(range(size) for size in space.sizes)))
    assert [space.encode(*classes) for classes in combinations] == list(range(space.num_classes))
    assert [
        tuple(space.part_of(label, factor.name) for factor in space.factors) for label in range(space.num_classes)
    ] == combinations


@every_space
def test_arrays_are_encoded_and_taken_apart_like_numbers(space: LabelSpace) -> None:
    class_FK = np.array(list(itertools.product(*(range(size) for size in space.sizes)))).T
    label_K = space.encode(*class_FK)
    assert label_K.tolist() == list(range(space.num_classes))
    for factor, class_K in zip(space.factors, class_FK, strict=True):
        assert space.part_of(label_K, factor.name).tolist() == class_K.tolist()
        table = space.part_table(factor.name)
        assert (table.dtype, table.tolist()) == (np.int64, class_K.tolist())
    assert space.part_table(ALL).tolist() == label_K.tolist()


@pytest.mark.parametrize("classes", [(), (1,), (1, 1, 1)])
def test_a_label_has_a_class_of_every_factor(classes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"zip\(\)|not enough values"):
        TWO.encode(*classes)


@every_space
def test_names_of_classes_are_those_of_their_parts(space: LabelSpace) -> None:
    for label, name in enumerate(space.names):
        assert name == ", ".join(factor.classes[space.part_of(label, factor.name)] for factor in space.factors)


def test_names_on_an_axis_are_short_unless_there_is_one_factor() -> None:
    assert TWO.short_names == ("M sp", "M su", "M au", "F sp", "F su", "F au")
    assert FOUR.short_names[:2] == ("left aster M sp", "left aster M su")
    assert LabelSpace((SEX,)).short_names == ("male", "female")
    assert ONE.short_names == FLOWER.classes


def test_words_that_are_not_given_are_the_classes_names() -> None:
    assert FLOWER.short_names == FLOWER.plural_names == FLOWER.typed_names == FLOWER.classes
    assert (SEX.short_names, SEX.plural_names, SEX.typed_names) == (("M", "F"), ("men", "women"), ("m", "f"))


def test_a_number_is_told_from_a_count_in_a_sentence() -> None:
    assert Factor("class", ("4", "10", "1.5", "four")).plural_names == ("class 4", "class 10", "1.5", "four")
    assert Factor("ward", ("4", "5"), one="ward number").plural_names == ("ward number 4", "ward number 5")


def test_a_single_factor_has_no_parts() -> None:
    assert ONE.parts == ()
    assert TWO.parts == ("sex", "season")
    assert FOUR.parts == ("side", "flower", "sex", "season")


@every_space
def test_a_model_predicts_the_whole_space_or_one_factor(space: LabelSpace) -> None:
    assert space.predicted(ALL) == space
    for factor in space.factors:
        assert space.predicted(factor.name) == LabelSpace((factor,))
        assert space.predicted(factor.name).names == factor.classes


def test_unknown_task_is_refused_and_the_known_ones_listed() -> None:
    for ask in (lambda: MASKED.part_of(3, "race"), lambda: MASKED.predicted("race"), lambda: MASKED.factor("race")):
        with pytest.raises(ValueError, match=r"No task named 'race'\. There are: all, mask, gender, age\."):
            ask()


@every_space
def test_a_space_survives_a_trip_through_json(space: LabelSpace) -> None:
    again = LabelSpace.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert (again.names, again.short_names) == (space.names, space.short_names)


def test_json_holds_the_words_that_were_given_alone() -> None:
    assert FLOWER.to_json() == {"name": "flower", "classes": list(FLOWER.classes), "of_group": False}
    assert SEASON.to_json()["short"] == ["sp", "su", "au"]
    assert SEX.to_json()["of_group"] is True


@pytest.mark.parametrize("values", [[{}], [{"name": "a", "classes": ["b"]}], [{"name": "a", "of_group": True}], [3]])
def test_other_json_is_no_space(values: list[object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        LabelSpace.from_json(values)  # type: ignore[arg-type]
