"""Labels: a label is a point in a product of named factors, such as (mask, gender, age) or one factor alone.

Classes are numbered with the last factor changing fastest: ``label = mask * 6 + gender * 3 + age`` for factors of 3, 2
and 3 classes. A model predicts the whole label, ``ALL``, or one factor of it; what it predicts is a label space, too.

Shape suffixes, here and everywhere: B batch, N photos, K classes, C H W channels, rows, columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeVar

import numpy as np

ALL = "all"
"""``TrainConfig.task`` of a model that predicts the whole label."""

Ints = TypeVar("Ints", int, np.ndarray)


@dataclass(frozen=True)
class Factor:
    """One factor of a label, and the words to speak of its classes."""

    name: str
    classes: tuple[str, ...]
    """Names of the classes, in their order."""
    of_group: bool = False
    """Whether all photos of a group (a person, say) have the same class, so that groups can be stratified by it."""
    short: tuple[str, ...] = ()
    """Names of the classes on an axis; empty: ``classes``."""
    plural: tuple[str, ...] = ()
    """Names of the classes in a sentence, as in "men taken for women"; empty: ``classes``."""
    typed: tuple[str, ...] = ()
    """Names of the classes on the command line; empty: ``classes``."""
    ordered: bool = False
    """Whether the classes are steps of a scale, so that some mistakes are larger than others."""
    one: str = ""
    """What the factor is called in a sentence, as in "by mask state"; empty: ``name``."""
    many: str = ""
    """Its plural, as in "mask states"; empty: ``one``, or ``name``."""

    @property
    def noun(self) -> str:
        """What the factor is called in a sentence."""
        return self.one or self.name

    @property
    def nouns(self) -> str:
        """What the factor is called in a sentence, in the plural where one was declared."""
        return self.many or self.noun

    @property
    def short_names(self) -> tuple[str, ...]:
        """Names of the classes on an axis."""
        return self.short or self.classes

    @property
    def plural_names(self) -> tuple[str, ...]:
        """Names of the classes in a sentence; before a number stands the factor: ``class 4``."""
        return self.plural or tuple(f"{self.noun} {name}" if name.isdecimal() else name for name in self.classes)

    @property
    def typed_names(self) -> tuple[str, ...]:
        """Names of the classes on the command line."""
        return self.typed or self.classes

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        words = {name: list(getattr(self, name)) for name in ("short", "plural", "typed") if getattr(self, name)}
        more = {name: getattr(self, name) for name in ("ordered", "one", "many") if getattr(self, name)}
        return {"name": self.name, "classes": list(self.classes), "of_group": self.of_group, **words, **more}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Factor":
        """The inverse of to_json. Raises KeyError and TypeError for other values."""
        words = {name: tuple(map(str, values[name])) for name in ("short", "plural", "typed") if name in values}
        return Factor(
            str(values["name"]),
            tuple(map(str, values["classes"])),
            bool(values["of_group"]),
            **words,
            ordered=bool(values.get("ordered", False)),
            one=str(values.get("one", "")),
            many=str(values.get("many", "")),
        )


@dataclass(frozen=True)
class LabelSpace:
    """The classes that a label may have: every combination of its factors' classes."""

    factors: tuple[Factor, ...]

    @cached_property
    def num_classes(self) -> int:
        """K."""
        return prod(len(factor.classes) for factor in self.factors)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the K classes, the factors' names joined by commas: ``worn, male, under 30``."""
        return self._joined(", ", [factor.classes for factor in self.factors])

    @cached_property
    def short_names(self) -> tuple[str, ...]:
        """Names of the K classes on an axis: ``worn M <30``; a single factor's in full, for which there is room."""
        return self._joined(" ", [factor.short_names for factor in self.factors]) if self.parts else self.names

    def _joined(self, separator: str, names_by_factor: list[tuple[str, ...]]) -> tuple[str, ...]:
        joined = names_by_factor[0]
        for names in names_by_factor[1:]:
            joined = tuple(f"{first}{separator}{second}" for first in joined for second in names)
        return joined

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the factors of a label that has several; empty for a single one, which is the label itself."""
        return tuple(factor.name for factor in self.factors) if len(self.factors) > 1 else ()

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of every factor."""
        return tuple(len(factor.classes) for factor in self.factors)

    def factor(self, name: str) -> Factor:
        """The factor of this name. Raises ValueError when there is none."""
        for factor in self.factors:
            if factor.name == name:
                return factor
        raise ValueError(f"No task named {name!r}. There are: {', '.join((ALL, *self.parts))}.")

    def predicted(self, task: str) -> "LabelSpace":
        """What a model of this ``TrainConfig.task`` predicts: the whole space, or that of one factor alone.

        Raises ValueError for an unknown task.
        """
        return self if task == ALL else LabelSpace((self.factor(task),))

    def encode(self, *class_by_factor: Ints) -> Ints:
        """The label 0..K-1 of a class of every factor (numbers or integer arrays of one shape)."""
        label, *others = class_by_factor
        for size, number in zip(self.sizes[1:], others, strict=True):
            label = label * size + number
        return label

    def part_of(self, label: Ints, task: str) -> Ints:
        """The class within ``task`` of a label; ``ALL`` returns the label itself. Raises ValueError as predicted."""
        if task == ALL:
            return label
        index = self.factors.index(self.factor(task))
        return label // prod(self.sizes[index + 1 :]) % self.sizes[index]

    def part_table(self, task: str) -> np.ndarray:
        """int64 [K]: entry k is the class within ``task`` of label k."""
        return np.asarray(self.part_of(np.arange(self.num_classes), task))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values: the factors."""
        return [factor.to_json() for factor in self.factors]

    @staticmethod
    def from_json(values: list[dict[str, Any]]) -> "LabelSpace":
        """The inverse of to_json. Raises KeyError and TypeError for other values."""
        return LabelSpace(tuple(map(Factor.from_json, values)))
