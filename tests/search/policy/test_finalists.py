"""What a finalist stands for, and what a confirmation answers with it: levels, each at its best."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskcls.tasks.mask import MASK_TASK
from search.answer.answer import Confirmation
from search.answer.confirmation import outcome_of, read_confirmation, store_confirmation
from search.database.connect import default_url, load_study, open_storage
from search.findings.confirmation import confirmed_pair, confirmed_sentences
from search.policy.confirmation import Plan
from search.policy.finalists import choose_finalists
from search.terminal.confirmation import show_outcome
from tests.helpers.confirmation import judged, past, stored_as
from tests.helpers.search import DROPOUT, asking

LEVELS = (({"drop_rate": 0.5}, 0.8), ({"drop_rate": 0.7}, 0.7), ({"lr": 2e-4}, 0.6), ({}, 0.5))
"""The baseline's level is the worst, and the baseline's own configuration is not its best."""


def roles(runs: tuple[tuple[dict[str, Any], float], ...], top: int) -> dict[str, str]:
    found = choose_finalists(past(DROPOUT, *runs).get_trials(), stored_as(DROPOUT), top, "toy")
    return {one.name: one.level for one in found}


def test_best_configuration_of_the_baselines_level_is_always_there_to_be_compared_with() -> None:
    everyone = {
        "baseline": "",
        "drop_rate = 0.0 (trial 2)": "reference",
        "drop_rate = 0.5": "other",
        "drop_rate = 0.7": "other",
    }
    assert roles(LEVELS, 3) == roles(LEVELS, 2) == everyone
    assert roles(LEVELS, 1) == {name: role for name, role in everyone.items() if name != "drop_rate = 0.7"}


def test_baseline_is_the_reference_where_it_leads_its_level_or_nothing_there_is_complete() -> None:
    assert roles((({"drop_rate": 0.5}, 0.8), ({}, 0.5), ({"lr": 2e-4}, 0.4)), 3) == {
        "baseline": "reference",
        "drop_rate = 0.5": "other",
        "drop_rate = 0.0 (trial 2)": "",
    }
    assert roles((({"drop_rate": 0.5}, 0.8),), 3) == {"baseline": "reference", "drop_rate = 0.5": "other"}


def test_without_levels_nobody_stands_for_one() -> None:
    study = asking()
    found = choose_finalists(past(study, ({}, 0.5), ({"lr": 2e-4}, 0.6)).get_trials(), stored_as(study), 3, "toy")
    assert [one.level for one in found] == ["", ""]


@pytest.fixture
def confirmed(tmp_path: Path) -> Confirmation:
    """Four finalists: the level's best beats the reference, and both beat the baseline."""
    made, stored = judged(tmp_path, {"baseline": 0.3, "off": 0.6, "on": 0.95, "more": 0.6}, repeats=3)
    plan = Plan.of_document(stored)
    levels = ("", "reference", "other", "other")
    finalists = tuple(replace(one, level=level) for one, level in zip(plan.finalists, levels, strict=True))
    stored = replace(stored, confirmation=replace(plan, finalists=finalists).to_json())
    outcome = outcome_of(made, stored, tmp_path)
    assert outcome is not None
    search = load_study(open_storage(default_url(tmp_path), create=False), "toy")
    store_confirmation(search, outcome)
    assert read_confirmation(search) == outcome  # all of it survives the database
    return outcome


def test_levels_are_compared_with_the_reference_and_not_with_the_baseline(confirmed: Confirmation) -> None:
    assert [one.against_reference is not None for one in confirmed.finalists] == [False, False, True, True]
    on, off, found = confirmed_pair(confirmed) or pytest.fail("nothing is compared")
    assert (on.name, off.name, found.verdict) == ("on", "off", "better")
    gap = sum(on.scores) / 3 - sum(off.scores) / 3
    assert found.value == pytest.approx(gap)
    assert on.against is not None
    assert on.against.value > found.value
    assert confirmed_sentences(confirmed, MASK_TASK.unit)[0].startswith(
        "Better: over 3 fresh trainings each, on scores"
    )


def test_levels_are_printed_with_the_answer(confirmed: Confirmation, capsys: pytest.CaptureFixture[str]) -> None:
    show_outcome(confirmed, "toy", MASK_TASK)
    text = capsys.readouterr().out
    assert "from off" in text
    assert "Better: over 3 fresh trainings each, on scores" in text
    assert "on has the best mean: search.export writes it." in text


def test_tuned_level_is_never_compared_with_the_untuned_baseline(confirmed: Confirmation) -> None:
    without = tuple(replace(one, against_reference=None) for one in confirmed.finalists)
    gone = replace(
        confirmed, finalists=tuple(replace(one, diverged=(1,) if one.name == "off" else ()) for one in without)
    )
    assert confirmed_pair(gone) is None
    assert "trainings of off diverged" in confirmed_sentences(gone, MASK_TASK.unit)[0]


def test_levels_are_answered_though_the_baseline_diverged(confirmed: Confirmation) -> None:
    wild = tuple(replace(one, against=None) for one in confirmed.finalists)
    pair = confirmed_pair(replace(confirmed, finalists=wild))
    assert pair is not None
    assert (pair[0].name, pair[1].name) == ("on", "off")
