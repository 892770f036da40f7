"""The answer to a study's question: what is compared with what, what it is about, and in which words."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sklearn.metrics import f1_score

from maskcls.scoring.intervals import Variance, estimate
from maskcls.scoring.judges import Training
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.rounds import OWN_TUNING, LevelLook, expected_score
from search.answer.answer import Answer, Comparison, Confirmation, FactorAnswer, Finalist, Level, RoundsAnswer, Side
from search.answer.format import as_score
from search.answer.rounds import _asked, _side
from search.database.connect import create_study, default_url, open_storage
from search.database.optuna_internals import study_system_attributes
from search.findings.evidence import answer_of
from search.findings.recipe import find_recipe
from search.findings.rounds import elsewhere_sentence
from search.findings.sides import side_verdict
from search.findings.status import status_of
from search.findings.wording import put_in_words
from search.page.build import make_report
from search.page.dashboard import _rounds
from search.page.render import to_markdown
from search.policy.own_best import Elsewhere
from search.policy.warm_starts import _history
from search.storage.predictions import study_predictions
from search.storage.presence import StudyPresence
from search.storage.retention import trial_folder
from search.study.attributes import LEVEL, ROUND, round_of
from search.study.space import distributions
from search.study.study import Choice, Float
from search.supervisor.display import Display
from search.terminal.progress import PlainWatcher, Progress
from search.terminal.status import show_status
from search.terminal.summary import show_search_summary
from tests.helpers.report import Played, make_study, play_rounds
from tests.helpers.search import TOY_STUDY

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
    assert found.winner.expected <= found.winner.score.value
    assert "trial 1" not in " ".join(found.sentences)


def test_study_without_trials_has_no_answer_yet(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder, trials=False)
    found = answer(played)
    assert (found.verdict, found.winner) == ("no answer yet", None)


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
    assert "for lack of usable predictions: drop_rate = 0.5 (its best: trials 1, 9)." in shown
    assert "complete trials with usable predictions" in shown


# --- a study of an earlier version, without rounds --------------------------------------------------------------------


def test_a_search_alone_is_no_answer_but_says_what_more_trainings_would_bring(played: Played) -> None:
    found = answer(played)
    assert found.rounds is None
    assert found.verdict == "no answer yet"
    assert found.sentences[0] == "No answer yet: no rounds of fresh trainings were run."
    assert found.sentences[-1].startswith("10 more trainings (8 min of one worker) would find a difference of 0.")
    assert "trained models" not in " ".join((*found.sentences, *found.caveats))
    assert found.is_open


def level(text: str, score: float, against: Comparison | None) -> Level:
    return Level(text, 3, 2, score, (1,), {}, estimate(score, [Variance(1e-4, 50)]), against)


def of_levels(played: Played, *levels: Level) -> Answer:
    found = replace(answer(played), factors=(FactorAnswer("drop_rate", levels, 0),))
    return put_in_words(found, played.stored)


def test_what_a_search_excludes_is_told_as_a_bound_that_knows_of_the_luck_of_settings(played: Played) -> None:
    compared = Comparison("0.5", "0.0", CLEAR, "recipes", (2, 2))
    found = of_levels(played, level("drop_rate = 0.0", 0.5, None), level("drop_rate = 0.5", 0.55, compared))
    assert found.verdict == "no answer yet"
    assert "By the search alone drop_rate = 0.5 lies between +0.009 to +0.091 of drop_rate = 0.0." in found.sentences
    unknown = Comparison("0.5", "0.0", CLEAR, "models", (1, 1))
    found = of_levels(played, level("drop_rate = 0.0", 0.5, None), level("drop_rate = 0.5", 0.55, unknown))
    assert not any("By the search alone" in sentence for sentence in found.sentences)


def test_level_without_a_complete_trial_is_said(played: Played) -> None:
    found = of_levels(
        played, level("drop_rate = 0.0", 0.5, None), Level("drop_rate = 0.7", 0, 4, None, (), {}, None, None)
    )
    assert "No trial is complete at drop_rate = 0.7." in found.caveats


def test_question_without_levels_is_answered_by_the_best_found(played: Played) -> None:
    found = put_in_words(replace(answer(played), factors=()), played.stored)
    assert found.verdict == "best found"
    assert found.sentences[0].startswith("The best of 11 complete trials, trial 1, scores")


# --- rounds -----------------------------------------------------------------------------------------------------------


def rounds_of(folder: Path, photos: Path, right: dict[float, float], rounds: int, **options: float) -> Played:
    played = make_study(folder, photos, trials=False)
    play_rounds(played, right, rounds, **options)  # type: ignore[arg-type]
    return played


def shown_of(played: Played, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_search_summary(played.study, played.stored, played.runs, None)
    return capsys.readouterr().out.splitlines()


def expected_of(played: Played, side: Side) -> float:
    """The score to expect of a side, by its predictions."""
    shelf = study_predictions(played.study, played.runs / "toy")
    trials = [trial for trial in played.study.get_trials() if trial.number in side.scored]
    assert side.score is not None
    return expected_score(
        side.score, [Training("", trial.user_attrs["round"], shelf.counts(trial)) for trial in trials]
    )


def test_what_few_judges_take_from_the_mean_is_promised_and_exported_where_the_predictions_are(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.6, 0.5: 0.3}, 5)
    found = answer(played)
    assert found.rounds is not None
    assert found.winner is not None
    reference = found.rounds.reference
    assert reference.scored == reference.trials  # a study without a search
    assert found.winner.expected == pytest.approx(expected_of(played, reference))
    assert reference.score is not None
    assert found.winner.expected > reference.score
    recipe = find_recipe(played.study, None, played.runs)
    assert recipe.expected == recipe.origin["expected_macro_f1"] == found.winner.expected
    assert (
        f"the best mean of the rounds, expect macro F1 {found.winner.expected:.4f} (5 trainings)" in recipe.describe()
    )
    corrected = f"Expect macro F1 {found.winner.expected:.3f} of it on other people (trial {found.winner.trial})"
    assert f"{corrected}: its mean, corrected for few judges." in "\n".join(shown_of(played, capsys))
    page = to_markdown(make_report(played.material()))
    assert page.count("is the mean of its rounds, corrected for how few people judge each.") == 1
    assert (
        f"Expect {as_score(found.winner.expected)} of the recipe on other people: the mean of its rounds, corr" in page
    )
    assert "Round 0 is the baseline's own setting; the means are of all rounds." in page
    for number in reference.trials:
        file = trial_folder(played.runs / "toy", number) / "valid.npz"
        file.unlink() if number != found.winner.trial else None
    recipe = next(line for line in shown_of(played, capsys) if " Expect macro F1 " in line)
    assert recipe.endswith(f"(trial {found.winner.trial}).")  # one round that can be resampled corrects nothing
    assert "corrected" not in to_markdown(make_report(played.material()))
    (trial_folder(played.runs / "toy", found.winner.trial) / "valid.npz").unlink()
    assert find_recipe(played.study, None, played.runs).expected == reference.score


def test_rounds_answer_in_one_sentence_and_the_table_adds_up(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    found = answer(played)
    assert found.verdict == "worse"
    assert found.rounds is not None
    reference, other = found.rounds.sides
    assert other.look is not None
    assert found.sentences[0] == (
        f"Worse: drop_rate = 0.5 scores {-other.look.value:.3f} below drop_rate = 0.0 (95 % interval"
        f" {other.look.low:+.3f} to {other.look.high:+.3f})."
    )
    assert reference.score is not None
    assert other.score == pytest.approx(reference.score + other.look.value)
    values = [trial.value for trial in played.study.get_trials() if trial.number in reference.trials]
    assert reference.score == pytest.approx(np.mean([value for value in values if value is not None]))
    assert found.winner is not None
    assert (found.winner.trial, found.winner.expected) == (reference.trials[-1], expected_of(played, reference))
    assert not found.is_open
    lines = shown_of(played, capsys)
    assert len(lines) <= 14
    assert lines[0] == found.sentences[0]
    assert any(line.startswith("drop_rate = 0.5") and line.endswith("worse") for line in lines)
    assert f"Expect macro F1 {found.winner.expected:.3f} of it on other people (trial {found.winner.trial}" in "".join(
        lines
    )
    assert not any("search.confirm" in line for line in lines)


def test_the_status_of_an_answered_study_leaves_out_how_far_its_search_came(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    show_status(status_of(played.study, played.stored))
    told = capsys.readouterr().out
    assert "answer      Worse: drop_rate = 0.5 scores" in told
    assert not [word for word in ("incumbent", "noise", "patience") if word in told]


@pytest.mark.parametrize(("lr", "searched", "score"), [(1e-2, 0, 0.5), (2e-2, 0, 0.6), (1e-2, 1, 0.6)])
def test_a_score_is_of_judges_who_chose_nothing_at_the_setting_of_the_rounds(
    lr: float, searched: int, score: float
) -> None:
    trials = [
        create_trial(
            value=value,
            params={"drop_rate": 0.0, "lr": 1e-2 if number == 0 else lr},
            distributions={"drop_rate": CategoricalDistribution([0.0, 0.5]), "lr": FloatDistribution(1e-3, 1e-1)},
            user_attrs={LEVEL: "drop_rate = 0.0", ROUND: number},
        )
        for number, value in enumerate((0.3, 0.5, 0.7))
    ]
    others = [create_trial(value=0.9)] * searched
    asked = _asked(SimpleNamespace(study=TOY_STUDY), [*trials, *others])  # type: ignore[arg-type]
    assert _side("drop_rate = 0.0", trials, asked).score == pytest.approx(score)


def test_an_open_question_has_a_bound_and_says_what_more_trainings_bring(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.7, 0.5: 0.72}, 4)
    found = answer(played)
    assert found.verdict == "open"
    assert found.sentences[0].startswith("Open: drop_rate = 0.5 lies between 0.")
    assert found.sentences[2].startswith("8 more trainings (")
    lines = shown_of(played, capsys)
    assert lines[1] == found.sentences[2]
    assert any("search.confirm" in line for line in lines)


def test_a_difference_that_cannot_matter_is_a_verdict(tmp_path: Path, synthetic_folder: Path) -> None:
    found = answer(rounds_of(tmp_path, synthetic_folder, {0.0: 0.7, 0.5: 0.7}, 6, matters=0.4))
    assert found.verdict == "no difference that matters"
    assert found.sentences[0].startswith(
        "No difference that matters: between drop_rate = 0.5 and drop_rate = 0.0 it is"
    )


def test_an_interval_that_says_nothing_is_not_printed(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 2, end=40)
    assert answer(played).verdict == "no answer yet"
    assert not any("1.000" in line for line in shown_of(played, capsys))


def test_several_levels_are_told_in_one_sentence(played: Played, tmp_path: Path, synthetic_folder: Path) -> None:
    found = answer(rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)).rounds
    assert found is not None
    first, second = found.sides
    assert second.look is not None
    better = replace(second.look, value=0.05, low=0.02, high=0.08, verdict="better")
    open_ = replace(second.look, value=0.01, low=-0.03, high=0.05, verdict="open")
    sides = (first, second, replace(second, name="drop_rate = 0.2", look=better), replace(second, name="x", look=open_))
    told = put_in_words(replace(answer(played), rounds=replace(found, sides=sides)), played.stored)
    assert told.verdict == "better"
    assert told.sentences[0].startswith(
        "Better: compared with drop_rate = 0.0, drop_rate = 0.2 is better (by 0.050, 95 % interval +0.020 to +0.080),"
        " x is open (0.030 worse to 0.050 better) and drop_rate = 0.5 is worse (by 0."
    )
    assert any("3 differences are widened" in caveat for caveat in told.caveats)


# --- a level whose own best setting lies elsewhere --------------------------------------------------------------------

ELSEWHERE = Elsewhere("drop_rate = 0.5", 0.0312, {"lr": 3e-4}, {"lr": (1e-3, 2e-3)})


def test_the_level_whose_best_lies_elsewhere_is_told_in_the_place_of_more_trainings(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.7, 0.5: 0.72}, 4)
    before = shown_of(played, capsys)
    monkeypatch.setattr("search.findings.evidence.levels_elsewhere", lambda study, trials: [ELSEWHERE])
    told = (
        "drop_rate = 0.5 did best at another lr (0.0003 rather than 0.001, 0.002: +0.031 expected);"
        " search.confirm --own-best compares each level at its own best."
    )
    assert answer(played).sentences[-1] == told
    lines = shown_of(played, capsys)
    assert len(lines) == len(before)  # four levels fill the screen's 14 lines
    assert lines[1] == told
    assert any("search.confirm --study toy --own-best" in line for line in lines)


def test_of_many_levels_elsewhere_those_that_gain_most_are_named() -> None:
    many = [replace(ELSEWHERE, level=f"drop_rate = 0.{number}") for number in range(4)]
    values, asked = {"lr": 1e-4, "augment": ("flip",)}, {"lr": (1e-3,), "augment": ((),)}
    assert elsewhere_sentence([replace(many[0], values=values, asked=asked), *many[1:]]) == (
        "drop_rate = 0.0 did best at another lr and augment"
        " (lr 0.0001 rather than 0.001, augment flip rather than none: +0.031 expected)"
        " and drop_rate = 0.1 did best at another lr (0.0003 rather than 0.001, 0.002: +0.031 expected),"
        " and 2 other levels elsewhere too; search.confirm --own-best compares each level at its own best."
    )


def test_both_kinds_of_rounds_are_told_and_never_pooled(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    common = answer(played).rounds
    play_rounds(played, {0.0: 0.4, 0.5: 0.9}, 5, own_lr={0.0: 1e-2, 0.5: 3e-3})
    found = answer(played)
    assert found.rounds == common
    assert found.own is not None
    assert [each.number for each in found.own.rounds] == [5, 6, 7, 8, 9]
    reference, other = found.own.sides
    assert (reference.look, other.look and other.look.verdict) == (None, "better")
    assert found.verdict == "worse at one common setting, better with each at its own best"
    assert found.sentences[0].startswith("Worse at one common setting: drop_rate = 0.5 scores 0.")
    assert " Better with each at its own best: drop_rate = 0.5 scores 0." in found.sentences[0]
    assert found.winner is not None
    assert (found.winner.trial, found.winner.expected) == (other.trials[-1], expected_of(played, other))
    assert any("drop_rate = 0.0 at lr = 0.01; drop_rate = 0.5 at lr = 0.003" in caveat for caveat in found.caveats)
    assert not any("was not asked" in caveat for caveat in found.caveats)
    lines = shown_of(played, capsys)
    assert len(lines) <= 14
    assert lines[0] == found.sentences[0]
    assert any(line.startswith("level at its own best") for line in lines)
    assert not any("search.confirm" in line for line in lines)  # both are decided
    capsys.readouterr()
    show_status(status_of(played.study, played.stored))
    assert found.sentences[0] in capsys.readouterr().out


def test_an_open_answer_at_its_own_best_offers_more_of_its_rounds(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 3, own_lr={0.0: 1e-2, 0.5: 3e-3})
    lines = shown_of(played, capsys)
    assert answer(played).verdict == "worse at one common setting, open with each at its own best"
    assert any("search.confirm --study toy --own-best --repeats 3" in line for line in lines)


def test_the_luck_of_each_levels_own_tuning_is_in_the_interval(tmp_path: Path, synthetic_folder: Path) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    play_rounds(played, {0.0: 0.8, 0.5: 0.3}, 5, own_lr={0.0: 1e-2, 0.5: 1e-2})
    found = answer(played).own
    assert found is not None
    look = found.sides[1].look
    assert look is not None
    assert look.error > OWN_TUNING.value**0.5
    assert look.effect_after(1e9, 1, OWN_TUNING) > look.effect_after(1e9, 1)


def test_the_trials_of_later_rounds_are_none_of_the_search(tmp_path: Path, synthetic_folder: Path) -> None:
    """Other people judged them: neither the best of the search nor a level's best is one of them."""
    played = make_study(tmp_path, synthetic_folder)
    play_rounds(played, {0.0: 0.99, 0.5: 0.98}, 2)
    after = answer(played)
    numbers = {trial.number for trial in played.study.get_trials() if trial.user_attrs.get("round")}
    assert all(numbers.isdisjoint(level.trials) for factor in after.factors for level in factor.levels)


def test_between_looks_the_last_one_stands_and_without_any_there_is_no_answer(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 4)
    looks = played.study.user_attrs["looks"]
    played.study.set_user_attr("looks", looks[:-1])
    assert answer(played).sentences[1].startswith("This rests on 6 trainings in 3 rounds, judged by")
    played.study.set_user_attr("looks", [])
    found = answer(played)
    assert found.verdict == "no answer yet"
    assert found.sentences[0] == "No answer yet: the rounds that answer the question have only begun."


def test_finalists_are_compared_with_the_baseline(played: Played, tmp_path: Path, synthetic_folder: Path) -> None:
    """Of a study without levels, whose sides are recipes."""
    found = answer(rounds_of(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9}, 5)).rounds
    assert found is not None
    first, second = found.sides
    sides = (replace(first, name="baseline"), replace(second, name="trial 12"))
    told = put_in_words(replace(answer(played), factors=(), rounds=replace(found, sides=sides)), played.stored)
    assert told.verdict == "better"
    assert told.sentences[0].startswith("Better: trial 12 scores 0.")
    assert " above the baseline (95 % interval +0." in told.sentences[0]


def test_a_level_that_always_diverges_is_not_compared_and_stays_open(
    played: Played, tmp_path: Path, synthetic_folder: Path
) -> None:
    found = answer(rounds_of(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9}, 3)).rounds
    assert found is not None
    first, second = found.sides
    gone = replace(second, trials=(), score=None, look=None, diverged=(1, 3, 5))
    told = put_in_words(replace(answer(played), rounds=replace(found, sides=(first, gone), more=None)), played.stored)
    assert told.verdict == "no answer yet"
    assert told.sentences[0] == "No answer yet: no trainings could be compared with those of drop_rate = 0.0."
    assert "drop_rate = 0.5 diverged in trials 1, 3, 5, which count for nothing here." in told.caveats
    assert side_verdict(gone, is_reference=False) == "not compared: diverged in trials 1, 3, 5"
    assert told.is_open


def test_fewer_than_ten_judges_are_promised_no_verdict_before_the_first_look(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.95, 0.5: 0.05}, 1)
    found = answer(played)
    assert found.rounds is not None
    assert not found.rounds.looks
    assert found.verdict == "no answer yet"
    rounds = tuple(replace(each, judges=9) for each in found.rounds.rounds)
    few = put_in_words(replace(found, rounds=replace(found.rounds, rounds=rounds)), played.stored)
    assert few.verdict == "no verdict"
    assert few.sentences[0].startswith("No verdict: fewer than 10 people judged a round")


def test_fewer_than_ten_judges_give_no_verdict_anywhere(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.95, 0.5: 0.05}, 5, valid_share=0.15)
    why = (
        "No verdict: fewer than 10 people judged a round, too few to tell a difference from chance. Add people, or"
        " begin a new study where more of them judge (a larger valid_share)."
    )
    found = answer(played)
    assert found.rounds is not None
    assert {each.judges for each in found.rounds.rounds} == {12, 7}
    assert (found.verdict, found.sentences[0], found.rounds.more) == ("no verdict", why, None)
    look = found.rounds.sides[1].look
    assert look is not None
    assert look.high < 0  # which would be a verdict of enough people
    lines = shown_of(played, capsys)
    assert lines[0] == why
    assert not any("search.confirm" in line or "four times in five" in line for line in lines)
    assert any(line.endswith("no verdict") and f"{look.value:+.3f}" in line for line in lines)
    show_status(status_of(played.study, played.stored))
    assert f"  answer      {why}" in capsys.readouterr().out.splitlines()
    attributes = study_system_attributes(played.study)
    note = "".join(str(attributes[key]) for key in sorted(attributes) if key.startswith("dashboard:note_str:"))
    assert "No verdict: fewer than 10 people judged a round" in note
    report = make_report(played.material())
    assert (report.verdict, report.sentences[0]) == ("no verdict", why)
    figure = _rounds(found.rounds, found.task)
    assert figure is not None
    assert list(figure.data[0].marker.symbol) == ["circle"]  # and not that of a worse one


def test_beside_levels_that_are_decided_those_without_enough_judges_are_told(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    found, first, second, look = two_sides(played)
    third = replace(second, name="drop_rate = 0.7", look=replace(look, verdict="no verdict"))
    told = told_of_sides(played, found, first, second, third)
    assert told.verdict == "no verdict"
    assert told.sentences[0].endswith("and drop_rate = 0.7 has no verdict, as fewer than 10 judged a round.")
    assert side_verdict(third, is_reference=False) == "no verdict"


def two_sides(played: Played) -> tuple[RoundsAnswer, Side, Side, LevelLook]:
    """(The answer by rounds, the reference, the level compared with it, that level's look)."""
    found = answer(played).rounds
    assert found is not None
    first, second = found.sides
    assert second.look is not None
    return found, first, second, second.look


def told_of_sides(played: Played, found: RoundsAnswer, *sides: Side) -> Answer:
    return put_in_words(replace(answer(played), rounds=replace(found, sides=sides, more=None)), played.stored)


def test_a_verdict_whose_interval_is_cut_at_the_largest_difference_is_told(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    found, first, second, look = two_sides(played)
    cut = replace(second, look=replace(look, value=-0.7, low=-1.0, high=-0.352, verdict="worse"))
    told = told_of_sides(played, found, first, cut)
    assert told.verdict == side_verdict(cut, is_reference=False) == "worse"
    assert told.sentences[0] == (
        "Worse: drop_rate = 0.5 scores 0.700 below drop_rate = 0.0 (95 % interval -1.000 to -0.352)."
    )
    wide = replace(cut, look=replace(look, low=-1.0, high=0.1, verdict="open"))
    assert told_of_sides(played, found, first, wide).verdict == "no answer yet"


def test_a_level_that_could_not_be_compared_leaves_the_question_open(tmp_path: Path, synthetic_folder: Path) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    found = answer(played).rounds
    assert found is not None
    gone = replace(found.sides[1], name="drop_rate = 0.7", trials=(), score=None, look=None, diverged=(1, 3))
    told = told_of_sides(played, found, *found.sides, gone)
    assert (told.verdict, told.is_open) == ("open", True)
    assert told.sentences[0].startswith("Open: compared with drop_rate = 0.0, drop_rate = 0.5 is worse (by 0.")
    assert told.sentences[0].endswith(" and drop_rate = 0.7 was not compared.")


def test_the_best_that_is_shown_or_tried_first_elsewhere_is_one_of_the_search(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    """The trainings of rounds have other judges, some of whom are milder."""
    played = make_study(tmp_path, synthetic_folder)
    play_rounds(played, {0.0: 0.99, 0.5: 0.98}, 2)
    display = Display(StudyPresence(played.study, tmp_path / "toy"), PlainWatcher(Progress(50, 0, None)))
    assert display.refresh() == ""
    best = display.screen.progress.best
    assert best is not None
    assert not round_of(played.study.get_trials()[best[1]])
    complete = played.study.get_trials(states=[TrialState.COMPLETE])
    history = _history(played.study, distributions(played.stored.study.nuisance), ("adamw",), "adamw")
    assert [value for _, value in history] == [trial.value for trial in complete if not round_of(trial)]


def replayed(played: Played, copy: str, keeps: Callable[[FrozenTrial], bool]) -> Played:
    """A study with the looks and those of the trials that it ``keeps``; the others have failed."""
    storage = open_storage(default_url(played.runs), create=False)
    study = create_study(storage, copy, dict(played.study.user_attrs))
    for trial in played.study.get_trials():
        if not keeps(trial):
            trial.state, trial.values = TrialState.FAIL, None
        study.add_trial(trial)
    shutil.copytree(played.runs / played.study.study_name, played.runs / copy)
    return replace(played, study=study)


def test_rounds_answer_without_the_very_first_training(tmp_path: Path, synthetic_folder: Path) -> None:
    whole = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    found = answer(replayed(whole, "failed", lambda trial: trial.number > 0))
    assert found.verdict == "worse"
    assert found.rounds is not None
    assert [(side.name, side.trials[0]) for side in found.rounds.sides] == [
        ("drop_rate = 0.0", 2),
        ("drop_rate = 0.5", 1),
    ]


def test_a_level_whose_trainings_all_failed_leaves_the_question_open(tmp_path: Path, synthetic_folder: Path) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    space = {"drop_rate": Choice(0.0, 0.5, 0.7)}
    grown = replace(played, stored=replace(played.stored, study=replace(played.stored.study, scientific=space)))
    found = answer(grown)
    assert (found.verdict, found.is_open) == ("open", True)
    assert found.sentences[0].endswith("drop_rate = 0.7 was not compared.")


def test_a_range_that_was_widened_has_no_answer_from_its_former_parts(tmp_path: Path, synthetic_folder: Path) -> None:
    played = rounds_of(tmp_path, synthetic_folder, {0.0: 0.8, 0.5: 0.3}, 5)
    space = {"drop_rate": Float(0.0, 0.8)}
    widened = replace(played, stored=replace(played.stored, study=replace(played.stored.study, scientific=space)))
    assert answer(widened).rounds is None
    assert answer(widened).verdict == "no answer yet"
