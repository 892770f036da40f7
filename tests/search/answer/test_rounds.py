"""What the rounds say, of a study that has many."""

from collections import Counter

import pytest
from optuna.trial import FrozenTrial, create_trial

import search.answer.rounds
from search.answer.rounds import answer_of_rounds
from search.study.attributes import LEVEL, PLACE, ROUND
from search.study.space import distributions, params_of
from tests.helpers.confirmation import stored_as
from tests.helpers.search import TOY_STUDY


def trainings(rounds: int) -> list[FrozenTrial]:
    """A training of each level in every round; the second level is better by 0.1."""
    made = []
    for number in range(2 * rounds):
        round_, place = divmod(number, 2)
        drop_rate = (0.0, 0.5)[place]
        level = f"drop_rate = {drop_rate}"
        trial = create_trial(
            value=0.5 + 0.1 * place,
            params=params_of(TOY_STUDY.space, {"drop_rate": drop_rate, "lr": 1e-2}),
            distributions=distributions(TOY_STUDY.space),
            user_attrs={ROUND: round_, PLACE: place, LEVEL: level},
        )
        trial.number = number
        made.append(trial)
    return made


def test_each_training_is_looked_at_a_few_times_however_many_rounds_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = search.answer.rounds.round_of, Counter[int]()

    def counting(trial: FrozenTrial) -> int | None:
        seen[trial.number] += 1
        return real(trial)

    monkeypatch.setattr(search.answer.rounds, "round_of", counting)
    answer = answer_of_rounds(stored_as(TOY_STUDY), trainings(50), [])
    assert answer is not None
    assert [round_.number for round_ in answer.rounds] == list(range(50))
    assert all(len(round_.scores) == 2 for round_ in answer.rounds)
    assert [side.score for side in answer.sides] == pytest.approx([0.5, 0.6])
    assert max(seen.values()) < 10
