"""What the tests of the search share."""

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
import typer
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

import maskcls.training.loop
from maskcls.data.dataset import Table
from maskcls.model.weights import Weights
from maskcls.scoring.metrics import Scores
from maskcls.system.console import run_command
from search.database.connect import create_study, default_url, load_study, open_storage
from search.policy.policy import ENDLESS, Policy
from search.policy.stopping import StoppingCriteria
from search.storage.queue import next_trial
from search.study.record import KEY, Stored
from search.study.space import distributions
from search.study.study import Choice, Domain, Float, Int, Pruner, Sampler, Study, Subset
from search.system.processes import describe_myself
from search.worker.job import Job, Setup
from search.worker.messages import WorkOrder
from tests.helpers.training import heed_signals

LR = Float(1e-5, 1e-1, log=True)
BEST_LR, BEST_DECAY = 10**-2.6, 1e-2
LEVEL_VALUES = {0.0: 0.6, 0.5: 0.3, 0.7: 0.0}


def asking(**scientific: Domain) -> Study:
    """A study that compares these knobs and tunes lr and weight decay."""
    first = {Choice: lambda domain: domain.options[0], Subset: lambda domain: (), Float: lambda domain: domain.low}
    first[Int] = first[Float]
    return Study(
        question="Does it help?",
        scientific=scientific,
        nuisance={"lr": LR, "weight_decay": Float(1e-4, 1, log=True)},
        fixed={},
        baseline={
            **{name: first[type(domain)](domain) for name, domain in scientific.items()},
            "lr": 1e-4,
            "weight_decay": 0.1,
        },
        sampler=Sampler("tpe"),  # the default one is no better here and takes longer
    )


DROPOUT = asking(drop_rate=Choice(*LEVEL_VALUES))


def toy(params: Mapping[str, Any]) -> float:
    """Levels .3 apart; within each, lr is worth .3 and weight decay .05."""
    lr, decay = (math.log10(params[name] / best) for name, best in (("lr", BEST_LR), ("weight_decay", BEST_DECAY)))
    return LEVEL_VALUES.get(params.get("drop_rate", 0.7), 0.0) + 0.3 * math.exp(-(lr**2)) + 0.05 * math.exp(-(decay**2))


def option_names(module: str) -> set[str]:
    """Every option of ``python -m module``."""
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(module).main)
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}


def play(
    study: Study,
    trials: int,
    score: Callable[[Mapping[str, Any]], float | None],
    policy: Policy | None = None,
    into: optuna.Study | None = None,
) -> optuna.Study:
    """So many trials more in a study in memory, each scored by a formula of its parameters; None is a crash."""
    played = into or optuna.create_study(direction="maximize")
    policy = policy or Policy(study, 0)
    for _ in range(trials):
        trial_id = begin(played, policy)
        value = score(played._storage.get_trial(trial_id).params)
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        played._storage.set_trial_state_values(trial_id, state, None if value is None else [value])
    return played


def begin(
    played: optuna.Study, policy: Policy, limits: StoppingCriteria = ENDLESS, closed: Collection[str] = ()
) -> int:
    """The id of a running trial that the policy has just proposed."""
    proposal = policy.propose(played.get_trials(deepcopy=False), limits, closed)
    template = create_trial(
        state=TrialState.RUNNING,
        params=proposal.params,
        distributions=policy.distributions,
        user_attrs=proposal.attributes,
    )
    return played._storage.create_new_trial(played._study_id, template)


def tried(study: optuna.Study) -> list[FrozenTrial]:
    """The trials of the search: those that try a setting, not those of a round."""
    return [trial for trial in study.get_trials() if "round" not in trial.user_attrs]


def settled(sampler: BaseSampler, study: Study, trials: int) -> optuna.Study:
    """A study in memory whose every parameter one of Optuna's samplers chooses, scored by ``toy``."""
    played = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        trial = played.ask(distributions(study.space))
        played.tell(trial, toy(trial.params))
    return played


TOY_STUDY = Study(
    question="Does dropout help?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-3, 1e-1, log=True)},
    fixed={
        "backbone": "test_efficientnet",
        "image_size": 32,
        "epochs": 2,
        "evaluations_per_epoch": 2,
        "memory_format": "contiguous",
        "threads": 1,
    },
    baseline={"drop_rate": 0.0, "lr": 1e-2},
    synthetic=True,
)
"""Four evaluations, about a second."""


class Watching:
    """A watcher that remembers what it was told, and acts after an evaluation."""

    def __init__(self, act: Callable[[int], None] = lambda step: None) -> None:
        self.act = act
        self.steps: list[int] = []
        self.ended: list[tuple[int, TrialState, float | None, str]] = []

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        pass

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        self.steps.append(step)
        self.act(step)

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        self.ended.append((number, state, value, why))


def make_setup(runs: Path, table: Table, study: Study = TOY_STUDY) -> Setup:
    """What the trials of ``study`` need, from scratch on the CPU; the photos are decoded once for all tests of them."""
    stored = Stored(study, "synthetic", table.hash, {"source": "scratch"}, "scratch", "auto", False, 0)
    cache = table.folder.parent / "decoded"
    return Setup("toy", stored, runs, table, Weights("scratch", {}), torch.device("cpu"), cache=cache)


def make_job(runs: Path, table: Table, study: Study = TOY_STUDY, watcher: Watching | None = None) -> Job:
    """A new study of that name in ``runs/studies.db``, without a pruner."""
    study = replace(study, pruner=Pruner("none"), is_stored=True)
    setup = make_setup(runs, table, study)
    storage = open_storage(f"sqlite:///{runs}/studies.db", create=True)
    create_study(storage, setup.name, {KEY: setup.stored.to_json()})
    stored = load_study(storage, setup.name)
    return Job(setup, stored, Policy(study, 0), watcher or Watching(), describe_myself("cpu.0"))


class StopAt(BasePruner):
    """Prunes every trial at one evaluation."""

    def __init__(self, step: int) -> None:
        self.step = step

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.last_step == self.step


def prune_at(job: Job, step: int) -> None:
    """From now on every trial is pruned at this evaluation, the baseline too."""
    job.policy.pruner = StopAt(step)
    job.policy.is_never_pruned = lambda trial: False  # type: ignore[method-assign]


def ask(job: Job, n_trials: int = 10**6) -> optuna.Trial:
    trial = next_trial(job.study, job.policy, StoppingCriteria(n_trials), job.worker)
    assert trial is not None
    return trial


def stored_trial(job: Job, number: int = 0) -> FrozenTrial:
    return job.study.get_trials()[number]


def scores_of(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], dict[str, Any]]) -> None:
    """From now on evaluation i (from 1) has the scores that it has, with these changes."""
    real, calls = maskcls.training.loop.score, iter(range(1, 1000))
    monkeypatch.setattr(maskcls.training.loop, "score", lambda *args: replace(real(*args), **change(next(calls))))


def f1_curve(monkeypatch: pytest.MonkeyPatch, curve: Sequence[float]) -> None:
    scores_of(monkeypatch, lambda step: {"macro_f1": curve[step - 1]})


MINE = '''"""Does dropout help the toy?"""
from search.study.study import Choice, Float, Study

STUDY = Study(
    question="Does dropout help the toy?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-3, 1e-1, log=True)},
    fixed={"backbone": "test_efficientnet", "image_size": 32, "epochs": 2, "threads": 1},
    baseline={"drop_rate": 0.0, "lr": 1e-2},
    preview={"epochs": 1},
)
'''
"""A study file of a user's own: two evaluations, half a second."""


def complain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: Callable[..., object], *words: str
) -> str:
    """Run a command that must fail; returns its one line on stderr."""
    monkeypatch.setattr(sys, "argv", ["command", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    told = capsys.readouterr().err
    assert ended.value.code == 2, told
    assert told.startswith("error: ")
    assert told.count("\n") == 1, told
    assert told.endswith("\n")
    assert "Traceback" not in told
    return told


@dataclass
class Place:
    """A folder with a study file, and the commands typed in it."""

    folder: Path
    data: Path

    @property
    def command(self) -> list[str]:
        photos = ["--data", str(self.data), "--weights", "scratch"]
        return ["--study", str(self.folder / "mine.py"), *photos, "--runs", str(self.folder / "runs")]

    def trials(self, name: str = "mine") -> list[FrozenTrial]:
        url = f"sqlite:///{self.folder}/runs/studies.db"
        return load_study(open_storage(url, create=False), name).get_trials()

    def start(self, *more: str, ready: Callable[[], None] = heed_signals) -> "subprocess.Popen[str]":
        words = [sys.executable, "-u", "-m", "search.run", *self.command, *more]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=ready)


def succeed(main: Callable[..., object], *words: str) -> None:
    """Type a command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *words])
        with pytest.raises(SystemExit) as ended:
            run_command(main)
    assert ended.value.code == 0


def order_for(runs: Path, n_trials: int, copy_of: str | None = None, cold: bool = True) -> WorkOrder:
    """The order of the first and only worker of a command on the toy study."""
    return WorkOrder(
        url=default_url(runs),
        name="toy",
        runs=str(runs),
        requested=Stored(TOY_STUDY, "synthetic", "", {}, "scratch", "auto", False, 0),
        workers=1,
        limits=StoppingCriteria(n_trials),
        since=0.0,
        cold=cold,
        copy_of=copy_of,
        plan=True,
        slot="cpu.0",
        device="cpu",
        cores=1,
    )
