"""The looks at a study's rounds, as they are stored with it."""

import optuna

from maskcls.scoring.rounds import Look
from search.study.attributes import LOOKS


def read_looks(study: optuna.Study) -> list[Look]:
    """The looks so far, the earliest first."""
    return [Look.from_json(values) for values in study.user_attrs.get(LOOKS, ())]
