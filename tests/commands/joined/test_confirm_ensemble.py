"""search.confirm --ensemble: real trainings of a team and a single model, judged by people who chose neither."""

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

import search.confirm
from maskcls.data.dataset import Table
from maskcls.model.ensemble_config import EnsembleConfig, MemberConfig
from search.database.connect import create_study, default_url, load_study, open_storage
from search.policy.confirmation import TEAM
from search.storage.looks import read_looks
from search.study.record import KEY, Stored
from search.study.space import distributions
from tests.helpers.search import TOY_STUDY
from tests.helpers.training import run


@pytest.fixture
def runs(tmp_path: Path, synthetic_folder: Path, synthetic_table: Table) -> Path:
    """A finished search, ``mine``, whose two trials nobody has trained, and its team beside it."""
    runs = tmp_path / "runs"
    runs.mkdir()
    fixed = {**TOY_STUDY.fixed, "epochs": 1, "evaluations_per_epoch": 1}
    asked, data = replace(TOY_STUDY, fixed=fixed), str(synthetic_folder)
    ours = Stored(asked, data, synthetic_table.hash, {"source": "scratch"}, "scratch", "auto", False, 0)
    study = create_study(open_storage(default_url(runs), create=True), "mine", {KEY: ours.to_json()})
    members = []
    for number, (drop_rate, value) in enumerate(((0.0, 0.4), (0.5, 0.5))):
        config = ours.config({"drop_rate": drop_rate, "lr": 1e-2}, number)
        origin = {"study": "mine", "trial": number}
        study.add_trial(
            create_trial(
                value=value,
                params={"drop_rate": drop_rate, "lr": 1e-2},
                distributions=distributions(TOY_STUDY.space),
                user_attrs={"seconds": 2.0, "config": config.model_dump(mode="json"), "origin": origin},
            )
        )
        members.append(MemberConfig(config, {**origin, "value": value}, number + 1))
    team = EnsembleConfig(tuple(members), {"single": {"study": "mine", "trial": 1, "macro_f1": 0.5}})
    (tmp_path / "team.toml").write_text(team.to_toml())
    return runs


def test_a_team_is_trained_and_judged_beside_the_best_single_model(
    runs: Path, synthetic_table: Table, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--study", "mine", "--ensemble", runs.parent / "team.toml", "--runs", runs, "--repeats", 2)
    assert run(search.confirm.main, *words, "--device", "cpu", "--workers", 1, "--keep-test") == 0
    told = capfd.readouterr().out
    assert "Confirmation of a team of mine: Does dropout help?" in told
    assert "the 12 who chose the team only train" in told
    assert "  team       67 %  trial 1: drop_rate=0.5 lr=0.01\n" in told
    assert "             33 %  trial 0: drop_rate=0 lr=0.01\n  single    trial 1: drop_rate=0.5 lr=0.01\n" in told
    assert "trainings 0 of 4 done: 2 per model, 1 epochs each, without pruning" in told
    assert "time      about 8 s, judging by the search's trials" in told
    assert "Confirmation of a team of mine: 2 of 2 repeats, " in told
    made = load_study(open_storage(default_url(runs), create=False), "mine-confirm-team")
    trials = made.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert [trial.params["drop_rate"] for trial in trials] == [0.5, 0.0] * 2
    assert len({trial.user_attrs["seed"] for trial in trials}) == 4
    assert len({trial.user_attrs["split"] for trial in trials}) == 2  # judges of the two repeats
    assert synthetic_table.hash not in {trial.user_attrs["split"] for trial in trials}
    (look,) = read_looks(made)
    assert (look.round, look.share, look.trainings) == (2, 1.0, 4)
    assert look.levels[TEAM].low <= look.levels[TEAM].value <= look.levels[TEAM].high

    assert run(search.confirm.main, *words) == 0
    told = capfd.readouterr().out
    assert "Study mine-confirm-team already has its 4 trainings." in told
    assert "Confirmation of a team of mine: 2 of 2 repeats, " in told
    assert read_looks(made) == [look]
