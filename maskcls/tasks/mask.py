"""The mask task: 18 classes of (mask, gender, age) in photos of people, several photos a person."""

from maskcls.labels import Factor, LabelSpace
from maskcls.tasks.task import Bands, ContextWords, Source, Task, Unit

MASK = Factor("mask", ("worn", "incorrect", "not worn"), one="mask state", many="mask states")
GENDER = Factor("gender", ("male", "female"), of_group=True, short=("M", "F"), plural=("men", "women"), many="genders")
AGE = Factor(
    "age",
    ("under 30", "30 to 59", "60 and over"),
    of_group=True,
    short=("<30", "30-59", "60+"),
    typed=("young", "middle", "old"),
    ordered=True,
    many="ages",
)

OLDEST = 120
"""Highest age in years that is accepted: some tables write 999 for an unknown age."""

AGE_BANDS = Bands(AGE.name, "years", (30, 60), "old_from")

MASK_TASK = Task(
    name="mask",
    space=LabelSpace((MASK, GENDER, AGE)),
    source=Source("mask"),
    unit=Unit("person", "people"),
    context="mask",
    bands=AGE_BANDS,
    context_words=ContextWords(
        ("mask worn", "mask incorrect", "no mask"), "behind a mask", ("with the mask worn", "without one")
    ),
    submission="competition",
)
