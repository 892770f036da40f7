"""Stored attributes: their names are a format, and trials that have none are read too."""

from typing import Any

import pytest
from optuna.trial import create_trial

from search.study import attributes
from search.study.attributes import (
    baseline_among,
    evaluations_of,
    interruptions_of,
    is_baseline,
    is_replicate,
    part_f1,
    planned_evaluations_of,
    repeat_of,
    seed_of,
    worker_of,
)

STORED = (
    "id", "confirms_id", "grown_from", "question", "commit", "versions", "decoder", "looks", "more_rounds", "test",
    "limits", "own_looks", "more_own_rounds",
    "role", "baseline", "warm start", "repeat", "replicate", "confirmation",
    "round", "level", "place", "judge_round", "round_plan", "own_best", "since_best",
    "seed", "of", "from", "finalist", "repeat", "enqueued in vain", "files_of",
    "worker", "interruptions", "deaths", "failures", "failure_kind", "error",
    "revision", "config", "origin", "evaluations", "evaluations_planned", "best_evaluation",
    "seconds", "photos_per_second", "peak_gib", "device", "accuracy", "loss", "f1_per_class",
    "best_accuracy", "best_loss", "split", "weights_digest", "files", "moved_to",
)  # fmt: skip
"""``repeat`` and ``round`` are roles and attributes, ``repeat`` has two names."""


def test_the_names_are_those_that_stored_studies_have() -> None:
    names = [value for name, value in vars(attributes).items() if name.isupper() and isinstance(value, str)]
    assert sorted(names) == sorted(STORED)
    assert part_f1("mask") == "f1_mask"


def trial(**attributes: Any) -> Any:
    return create_trial(value=0.5, user_attrs=attributes)


def test_the_first_baseline_is_found_and_no_replicate_of_it() -> None:
    plain, again, base = trial(), trial(role="replicate"), trial(role="baseline")
    assert baseline_among([plain, again, base, trial(role="baseline")]) is base
    assert baseline_among([plain, again]) is None
    first, other = trial(role="round", round=0, place=0), trial(role="round", round=0, place=1)
    assert baseline_among([other, trial(role="round", round=1, place=0), first]) is first
    assert [(is_baseline(found), is_replicate(found)) for found in (plain, again, base)] == [
        (False, False),
        (False, True),
        (True, False),
    ]


@pytest.mark.parametrize("read", [seed_of, repeat_of, worker_of, evaluations_of, planned_evaluations_of])
def test_what_a_trial_does_not_have_is_none(read: Any) -> None:
    assert read(trial()) is None
    assert interruptions_of(trial()) == 0
