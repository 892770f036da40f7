"""The unit of groups from the name of their column: patient_id -> patient, patients."""

import re

from maskcls.tasks.task import PHOTO, Unit

GROUP = Unit("group", "groups")
"""Where the column's name is no word, such as id or g."""

IRREGULAR = {
    **{"person": "people", "child": "children", "man": "men", "woman": "women", "mouse": "mice", "goose": "geese"},
    **{"leaf": "leaves", "calf": "calves", "wolf": "wolves", "larva": "larvae", "fish": "fish", "sheep": "sheep"},
    **{"species": "species", "series": "series"},
}
SINGULAR = {many: one for one, many in IRREGULAR.items()}

NO_NOUNS = frozenset({"id", "ids", "no", "nr", "num", "number", "name", "code", "key", "uid", "index", "hash", "group"})
"""Words of a column's name that do not say what the group is."""

SUBJECTS = frozenset(
    {"patient", "person", "subject", "animal", "mouse", "child", "individual", "participant", "lesion"}
)
"""Units of columns that say which photos show one subject."""


def unit_of(column: str) -> Unit:
    """The unit that a group column's name says: PatientID, patient_id and patients are all ("patient", "patients")."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", column)
    nouns = [word.lower() for word in words if word.lower() not in NO_NOUNS]
    if not nouns or len(nouns[-1]) < 3 or len(nouns) > 3 or not re.fullmatch(r"[\w .-]+", column, re.ASCII):
        return GROUP
    last = re.sub(r"(?<=[a-z]{5})id$", "", nouns[-1])  # patientid
    one = _singular(last)
    unit = Unit(" ".join([*nouns[:-1], one]), " ".join([*nouns[:-1], _plural(one)]))
    return GROUP if unit.one in (PHOTO.one, "image", "picture", "file") else unit


def _singular(word: str) -> str:
    if word in SINGULAR:
        return SINGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _plural(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"
