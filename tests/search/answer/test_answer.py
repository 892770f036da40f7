"""The answer to a study's question: what is compared with what, what it is about, and in which words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from maskcls.scoring.intervals import Variance, estimate
from maskcls.scoring.predictions import Predictions
from search.answer.answer import Answer, Comparison, Confirmation, FactorAnswer, Finalist, Level
from search.answer.evidence import answer_of
from search.answer.wording import put_in_words, verdict_of
from search.storage.retention import trial_folder
from search.terminal.summary import show_search_summary
from tests.helpers.report import Played, make_study

CLEAR, VAGUE = (estimate(0.05, [Variance(error**2, 100)]) for error in (0.01, 0.04))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    return make_study(tmp_path_factory.mktemp("answer"), synthetic_folder)


def answer(played: Played) -> Answer:
    return answer_of(played.study, played.stored, played.runs)


def f1_of_trial(played: Played, number: int) -> float:
    found = Predictions.load(trial_folder(played.runs / "toy", number) / "valid.npz")
    predicted_N = found.log_prob_NK.argmax(1)
    return float(f1_score(found.label_N, predicted_N, labels=range(18), average="macro", zero_division=0))


def test_levels_are_compared_each_at_its_best_setting(played: Played) -> None:
    (factor,) = answer(played).factors
    off, on = factor.levels
    assert (factor.reference, off.text, on.text) == (0, "drop_rate = 0.0", "drop_rate = 0.5")
    assert off.trials == (0, 10)  # the baseline and its replicate, the best mean without dropout
    assert on.trials == (1, 9)
    assert off.score is not None
    assert on.against is not None
    assert off.score.value == pytest.approx(np.mean([f1_of_trial(played, number) for number in (0, 10)]))
    gap = np.mean([f1_of_trial(played, number) for number in (1, 9)]) - off.score.value
    assert on.against.estimate.value == pytest.approx(gap)
    assert (on.against.about, on.against.runs) == ("recipes", (2, 2))


def test_replicates_are_no_trials_of_their_level(played: Played) -> None:
    (factor,) = answer(played).factors
    trials = [trial for trial in played.study.get_trials() if trial.state.is_finished()]
    tried = [trial for trial in trials if trial.user_attrs.get("role") != "replicate"]
    assert sum(level.complete + level.pruned for level in factor.levels) == len(tried)


def test_best_trial_is_shown_with_a_corrected_score_and_is_not_the_answer(played: Played) -> None:
    found = answer(played)
    assert found.winner is not None
    assert found.winner.trial == 1
    assert found.winner.score.value == pytest.approx(f1_of_trial(played, 1))
    assert found.winner.corrected <= found.winner.score.value
    assert found.winner.against_baseline is not None
    assert "trial 1" not in " ".join(found.sentences)
    assert ": at their best, drop_rate = 0.5 scores" in found.sentences[0]
    assert len(found.sentences) == 2


def test_study_without_trials_has_no_answer_yet(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder, trials=False)
    found = answer(played)
    assert (found.verdict, found.people, found.winner) == ("no answer yet", 0, None)


def test_broken_predictions_are_left_out_and_named(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    path = trial_folder(played.runs / "toy", 4) / "valid.npz"
    path.write_bytes(path.read_bytes()[:100])
    found = answer(played)
    assert found.left_out == (4,)
    assert any("missing or broken: trial 4." in caveat for caveat in found.caveats)
    assert found.winner is not None


def test_complete_trials_without_any_predictions_are_told_from_no_complete_trial(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    for path in (played.runs / "toy").rglob("valid.npz"):
        path.unlink()
    found = answer(played)
    assert found.sentences[0] == "Trials are complete, but none of their stored predictions can be used."
    assert found.factors[0].levels[1].best is not None


def test_confirmation_that_has_been_overtaken_is_said(played: Played) -> None:
    found = answer(played)
    assert found.winner is not None
    one, other = (
        Finalist(name, {"drop_rate": 0.0, "lr": lr}, (trial,), (0.5, 0.5), against)
        for name, lr, trial, against in (("baseline", 1e-2, 0, None), ("trial 0", 2e-2, 0, CLEAR))
    )
    outcome = Confirmation("toy-confirm", (one, other), 2, 2, 40, 1)
    told = put_in_words(replace(found, confirmation=outcome, factors=()), played.stored)
    assert told.verdict == "better"
    assert any("has continued since its finalists were chosen" in caveat for caveat in told.caveats)
    assert not any("best evaluation" in caveat for caveat in told.caveats)


def test_trial_without_predictions_is_left_out(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    (trial_folder(played.runs / "toy", 1) / "valid.npz").unlink()
    found = answer(played)
    assert found.winner is not None
    assert found.winner.trial == 9
    assert found.factors[0].levels[1].trials == (9,)
    compared = found.factors[0].levels[1].against
    assert compared is not None
    assert (compared.about, compared.runs) == ("models", (1, 2))
    assert compared.with_seeds is not None
    assert compared.with_seeds.error > compared.estimate.error


def test_a_level_is_not_judged_by_a_lesser_setting_when_the_predictions_of_its_best_are_gone(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    for number in (1, 9):  # the best setting with dropout, and its replicate
        (trial_folder(played.runs / "toy", number) / "valid.npz").unlink()
    found = answer(played)
    off, on = found.factors[0].levels
    assert (on.trials, on.left_out, on.score, on.against) == ((), (1, 9), None, None)
    assert on.best == played.study.get_trials()[1].value
    assert off.trials == (0, 10)
    assert found.verdict == "no answer yet"
    told = " ".join((*found.sentences, *found.caveats))
    assert "for lack of usable predictions: drop_rate = 0.5 (its best: trials 1, 9)." in told
    assert "No trial is complete" not in told
    show_search_summary(played.study, played.stored, played.runs, None)
    shown = capsys.readouterr().out
    assert "Left out, because their stored predictions are missing or broken: trials 1, 9." in shown
    assert "not compared: no usable predictions" in shown
    assert "complete trials with usable predictions" in shown


# --- words ------------------------------------------------------------------------------------------------------------


def test_one_run_each_speaks_of_these_two_trained_models() -> None:
    models = Comparison("A", "B", CLEAR, "models", (1, 1))
    assert verdict_of(models) == "better (these two trained models)"
    assert verdict_of(replace(models, estimate=VAGUE)) == "not distinguishable"


def test_spread_between_seeds_has_the_last_word() -> None:
    assert verdict_of(Comparison("A", "B", CLEAR, "models", (1, 1), with_seeds=VAGUE)) == "not distinguishable"
    assert verdict_of(Comparison("A", "B", CLEAR, "recipes", (3, 3))) == "better"


def level(text: str, score: float, against: Comparison | None) -> Level:
    return Level(text, 3, 2, score, (1,), {}, estimate(score, [Variance(1e-4, 50)]), against)


def of_levels(played: Played, *levels: Level) -> Answer:
    return replace(answer(played), factors=(FactorAnswer("drop_rate", levels, 0),))


def test_the_answer_is_about_the_best_level_beside_the_reference(played: Played) -> None:
    worse = replace(CLEAR, value=-0.05, low=-0.07, high=-0.03)
    levels = (
        level("drop_rate = 0.0", 0.5, None),
        level("drop_rate = 0.2", 0.55, Comparison("0.2", "0.0", CLEAR, "recipes", (2, 2))),
        level("drop_rate = 0.7", 0.45, Comparison("0.7", "0.0", worse, "recipes", (2, 2))),
    )
    found = put_in_words(of_levels(played, *levels), played.stored)
    assert found.verdict == "better"
    assert "at their best, drop_rate = 0.2 scores 0.550 and drop_rate = 0.0 scores 0.500" in found.sentences[0]
    assert "+0.050 (95 % interval +0.030 to +0.070)" in found.sentences[0]
    assert found.sentences[0].endswith("; drop_rate = 0.7 is worse.")
    assert "2 and 2 runs" in found.sentences[1]
    assert any("2 comparisons are widened" in caveat for caveat in found.caveats)


def test_level_without_a_complete_trial_is_said(played: Played) -> None:
    levels = (level("drop_rate = 0.0", 0.5, None), Level("drop_rate = 0.7", 0, 4, None, (), {}, None, None))
    found = put_in_words(of_levels(played, *levels), played.stored)
    assert found.verdict == "no answer yet"
    assert found.sentences[0] == "No trial is complete yet at drop_rate = 0.7."


def test_several_factors_have_a_verdict_each(played: Played) -> None:
    def factor(name: str, compared: Comparison) -> FactorAnswer:
        return FactorAnswer(name, (level(f"{name} = False", 0.5, None), level(f"{name} = True", 0.55, compared)), 0)

    better, same = (Comparison("on", "off", found, "recipes", (2, 2)) for found in (CLEAR, VAGUE))
    factors = (factor("augment.flip", better), factor("augment.blur", same))
    found = put_in_words(replace(answer(played), factors=factors), played.stored)
    assert found.verdict == "it depends"
    assert "Better: augment.flip = True (+0.050)" in found.sentences[0]
    assert "not distinguishable: augment.blur = True" in found.sentences[0]


def test_question_without_levels_is_answered_by_the_best_found(played: Played) -> None:
    found = put_in_words(replace(answer(played), factors=()), played.stored)
    assert found.verdict == "best found"
    assert found.sentences[0].startswith("The best of 11 complete trials, trial 1, scores")
    assert found.sentences[1].startswith("Compared with the baseline it is")
