"""The file of a team: what search.export --ensemble wrote of a study is planned, everything else is refused."""

import tomllib
from pathlib import Path

import optuna
import pytest

import search.confirm
import search.export
import search.report
from maskcls.config import change
from maskcls.scoring.rounds import BETTER, LevelLook, Look
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, has_study, load_study, open_storage
from search.policy.confirmation import TEAM, Plan
from search.study.attributes import LOOKS
from search.study.record import KEY, read_stored
from search.team.file import plan_of_file
from search.worker.create_confirmation import make_team_document, store_confirmation
from tests.helpers.predictions import store, wrong
from tests.helpers.search import complain
from tests.helpers.training import TINY, one_line, run

SHARES = (0.5, 0.4, 0.45)
"""Of the photos that each trial gets wrong."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four trials, ``whole``, and beside the folder what was exported of it, ``team.toml``."""
    runs = tmp_path_factory.mktemp("team") / "runs"
    runs.mkdir()
    said = [wrong("all", share, seed) for seed, share in enumerate(SHARES)]
    facts = [
        {
            "config": change(TINY, seed=number).model_dump(mode="json"),
            "origin": {"study": "whole", "trial": number, "split": "0123abcd"},
        }
        for number in range(len(said))
    ]
    store(runs, "whole", "all", said, facts=facts)
    assert (
        run(search.export.main, "--study", "whole", "--ensemble", "-o", runs.parent / "team.toml", "--runs", runs) == 0
    )
    return runs


def study_in(runs: Path, name: str = "whole") -> optuna.Study:
    return load_study(open_storage(default_url(runs), create=False), name)


def planned(runs: Path, file: Path) -> Plan:
    study = study_in(runs)
    return plan_of_file(file, study, read_stored(study), 5)


def edited(runs: Path, into: Path, *changes: tuple[str, str]) -> Path:
    """The exported file with the first of each text replaced."""
    text = (runs.parent / "team.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (into / "edited.toml").write_text(text)
    return into / "edited.toml"


def test_the_members_and_the_best_single_model_are_trained_once_a_repeat(runs: Path, tmp_path: Path) -> None:
    plan = planned(runs, runs.parent / "team.toml")
    assert (plan.of, plan.repeats, plan.is_team) == ("whole", 5, True)
    assert plan.finalists[0].trials == (1,)  # a member too, which is trained once for both
    file = tomllib.loads((runs.parent / "team.toml").read_text())
    weight_of = {member["origin"]["trial"]: member["weight"] for member in file["member"]}
    assert len(weight_of) > 2
    assert {each.trials[0]: weight for each, weight in zip(plan.finalists, plan.weights, strict=True)} == weight_of
    assert plan.finalists[0].name == "trial 1"
    trials = study_in(runs).get_trials()
    assert all(each.params == trials[each.trials[0]].params for each in plan.finalists)


def test_a_single_model_that_is_no_member_is_trained_too_and_weighs_nothing(runs: Path, tmp_path: Path) -> None:
    text = (runs.parent / "team.toml").read_text()
    first, *members = text.split("[[member]]")[1:]
    member = next(member for member in [first, *members] if "trial = 0\n" in member).split("\n[origin]")[0]
    (tmp_path / "one.toml").write_text(f"[[member]]{member}\n[origin]{text.split('[origin]')[1]}")
    plan = planned(runs, tmp_path / "one.toml")
    assert [each.trials for each in plan.finalists] == [(1,), (0,)]
    assert plan.weights[0] == 0 < plan.weights[1]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lr = 0.01", "lr = 0.02", "member 1: lr is 0.02 here and 0.01 in trial 0 of 'whole', which is what would"),
        (
            'study = "whole"',
            'study = "other"',
            "member 1 is no trial of study 'whole' (its origin names trial 0 of other)",
        ),
        ("trial = 0", "trial = 77", "member 1 is no trial of study 'whole' (its origin names trial 77 of whole)"),
        ("trial = 0\n", "", "member 1 is no trial of study 'whole' (its origin names no trial)"),
        ("value = 0.", "value = 1.", "member 1 is no trial of study 'whole' (its origin names trial 0 of whole)"),
        ("[origin.single]", "[origin.best]", "does not name the best single model of study 'whole'"),
        ("weight = ", "weight = -", "member 1: weight must be a number above 0, not -"),
    ],
)
def test_another_studys_or_a_changed_team_is_refused(runs: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        planned(runs, edited(runs, tmp_path, (old, new)))
    assert says in one_line(caught.value)


def test_a_file_without_a_team_is_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(file: Path, *more: str) -> str:
        words = ("--study", "whole", "--ensemble", str(file), "--runs", str(runs), *more)
        return complain(monkeypatch, capsys, search.confirm.main, *words)

    single = tmp_path / "one.toml"
    assert run(search.export.main, "--study", "whole", "-o", single, "--runs", runs) == 0
    assert "configures one model, and --ensemble takes a team: write one by" in refused(single)
    alone = tmp_path / "alone.toml"
    assert run(search.export.main, "--study", "whole", "--ensemble", "--size", 1, "-o", alone, "--runs", runs) == 0
    assert "the team is trial 1 alone, which is the best single model too" in refused(alone)
    (tmp_path / "joined.toml").write_text('[ensemble]\n"a" = 1\n')
    assert "an ensemble of trained models, not a config; search.export --ensemble writes" in refused(
        tmp_path / "joined.toml"
    )
    assert "There is no config file" in refused(tmp_path / "none.toml")
    team = runs.parent / "team.toml"
    assert "--top says what is trained again, and so does the file of --ensemble" in refused(team, "--top", "2")
    assert "--own-best says what is trained again, and so does the file" in refused(team, "--own-best")
    assert not has_study(open_storage(default_url(runs), create=False), "whole-confirm-team")


def test_a_stored_team_stays_and_another_one_is_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, study = open_storage(default_url(runs), create=False), study_in(runs)
    stored, plan = read_stored(study), planned(runs, runs.parent / "team.toml")
    made = store_confirmation(storage, make_team_document(study, stored, None, plan), runs)
    assert made.study_name == "whole-confirm-team"
    assert Plan.of_document(read_stored(made)) == plan
    assert read_stored(made).baseline_config.keep == "last"
    other = planned(runs, edited(runs, tmp_path, ("weight = ", "weight = 1")))
    with pytest.raises(UserError) as caught:
        make_team_document(study, stored, made, other)
    told = one_line(caught.value)
    assert f"'whole-confirm-team' confirms another team, of trial 1 (weight {plan.weights[0]:g}), " in told
    assert f"trial 0 (weight {other.weights[1]:g})" in told.split("and the file has one of")[1]
    again = make_team_document(study, stored, made, plan)
    assert again == read_stored(made)
    level = LevelLook(0.1, 0.05, 0.15, 0.02, 4.0, 2.5, BETTER, 3)
    made.set_user_attr(LOOKS, [Look(3, 0.6, {TEAM: level}, 5.0, 6).to_json()])
    capsys.readouterr()
    words = ("--study", "whole", "--ensemble", runs.parent / "team.toml", "--runs", runs)
    assert run(search.confirm.main, *words) == 0
    assert "Nothing is open any more: the difference is decided." in capsys.readouterr().out
    told = complain(monkeypatch, capsys, search.report.main, "--study", made.study_name, "--runs", str(runs))
    assert (
        "is the confirmation of a team of study 'whole'. Give that study's name; search.confirm --study whole --ens"
        in told
    )
    optuna.delete_study(study_name="whole-confirm-team", storage=storage)
    create_study(storage, "whole-confirm-team", {KEY: stored.to_json()})
    with pytest.raises(UserError, match="needs the name 'whole-confirm-team', which a search has"):
        store_confirmation(storage, make_team_document(study, stored, None, plan), runs)
    optuna.delete_study(study_name="whole-confirm-team", storage=storage)
