"""The plan of a study, shown before its first trial: its data, its hyperparameters, and what its trials are for."""

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig, change
from maskcls.data.cache_plan import plan_caches
from maskcls.data.dataset import Dataset, with_judges
from maskcls.data.split import choose_judges, missing_classes
from maskcls.data.splitters import too_few_judges, too_few_text
from maskcls.scoring.intervals import Variance
from maskcls.scoring.rounds import LEAST_DOF, OWN_TUNING, TUNING, detectable
from maskcls.system.console import say
from maskcls.system.errors import UserError, count_of, some
from maskcls.tasks.task import Task
from maskcls.training.loop import evaluation_stops
from maskcls.training.numerics import describe_device
from search.answer.format import SYNTHETIC
from search.policy.phases import Phases, num_left, sizes_of_rounds
from search.policy.policy import Policy
from search.policy.rounds import FINALISTS
from search.policy.stopping import StoppingCriteria, count_finished
from search.study.attributes import is_own_best
from search.study.domains import Domain, describe_domain
from search.study.study import Choice, Float, Int, Study
from search.terminal.photos import duplicate_lines, note_lines, photo_lines, wrapped
from search.worker.job import Setup
from search.worker.parallelism import describe_many

PEOPLE_DEVIATION, SIMULATED_PEOPLE, SEEDS_DEVIATION = 0.0148, 540, 0.02
"""Standard deviation of a training's score that is its own, by the choice of so many people and from seed to seed, in
benchmarks/decisive.py; those of real studies were somewhat smaller and larger (benchmarks/README.md)."""

PIXELS = ("image_size", "crop", "fit", "bit_depth")
"""Hyperparameters of TrainConfig.pixels: each combination has a cache of its own."""


def backbones_of(study: Study) -> list[str]:
    """Every backbone that a trial may use."""
    domain = study.space.get("backbone")
    if isinstance(domain, Choice):
        return [str(option) for option in domain.options]
    return [str(study.fixed.get("backbone", TrainConfig().backbone))]


def show_plan(
    setup: Setup,
    limits: StoppingCriteria,
    workers: int,
    trials: Sequence[FrozenTrial] = (),
    closed: Collection[str] = (),
    of_test: str = "",
) -> None:
    """Print data, split, weights, device, hyperparameters, pruning, warm starts and trials, in a line each.

    ``trials``: those that the study has, or that it begins with as a copy; ``closed``: its decided levels;
    ``of_test``: as in photo_lines.
    """
    stored, study = setup.stored, setup.stored.study
    say(f"Study {setup.name}: {study.question}")
    if study.synthetic:
        say(f"  {SYNTHETIC}")
    task = stored.task
    train, valid = setup.table.count("train"), setup.table.count("valid")
    say(f"  data      {stored.data}: {_sizes(train[0] + valid[0], train[1] + valid[1], task)}")
    for line in photo_lines(setup.table, of_test):
        say(f"            {line}")
    for note in () if study.synthetic else note_lines(setup.table):  # drawn people have no wrong labels
        say(f"            {note}")
    say(f"  split     {task.split_by}, {stored.split}: train {_sizes(*train, task)}; valid {_sizes(*valid, task)}")
    if task.leak:
        say(f"            the data names no groups: {task.leak}")
    missing = missing_classes(setup.table.photos, "valid", stored.task.space, setup.baseline.task)
    if missing:
        say(f"            NO VALIDATION PHOTO OF: {some(missing)}. {task.uncounted} in every trial.")
    source = (
        "from scratch" if setup.weights.source == "scratch" else f"{setup.weights.source} ({stored.weights_option})"
    )
    say(f"  weights   {source}, {some(backbones_of(study))}")
    if setup.weights.note:
        say(f"            NOT PRETRAINED: {setup.weights.note}.")
    show_caches(setup)
    pool = f", {workers} workers" if workers > 1 else ""
    say(f"  device    {describe_device(setup.device)}{pool}")
    for role, domains in (("compared", study.scientific), ("tuned", study.nuisance)):
        if domains:
            texts = (f"{name} {describe_domain(name, domain)}" for name, domain in domains.items())
            say(f"  {role:9s} {'; '.join(texts)}")
    planned_evaluations = len(evaluation_stops(setup.baseline, train[1]))
    policy = Policy(study, stored.seed)
    found = phases_at_own_best(limits, trials) if limits.own_best else policy.phases_within(limits, trials, closed)
    say(f"  pruning   {policy.describe_pruning(planned_evaluations)}")
    if stored.warm and found.search:
        sources = Counter(warm["from"] for warm in stored.warm)
        say(f"  warm      {'; '.join(f'{count} {source}' for source, count in sources.items())}")
    say(f"  trials    {count_finished(trials)} of {limits.n_trials} done{_other_limits(limits)}")
    compared, judges, too_few = policy.compared(trials), _num_judges(setup), _too_few(setup)
    lines = describe_rounds(found, compared or FINALISTS, judges, too_few)
    for line in describe_own_rounds(found, compared, judges, too_few) if limits.own_best else lines:
        say(f"            {line}")
    for line in () if trials else describe_many(found, workers):
        say(f"            {line}")


def _sizes(units: int, photos: int, task: Task) -> str:
    """``432 people, 3024 photos``; ``3024 photos`` where every photo is a unit."""
    return f"{units} {task.unit.noun(units)}" + (f", {photos} photos" if task.has_groups else "")


def show_caches(setup: Setup) -> None:
    """Print what the decoded photos take on the disk. Raises UserError where it has no room for them all.

    Of ranges, which may give every trial pixels of its own, only the largest is checked.
    """
    searched = {name: domain for name in PIXELS if (domain := setup.stored.study.space.get(name)) is not None}
    values = [domain.options if isinstance(domain, Choice) else _highest(domain) for domain in searched.values()]
    configs = [
        change(setup.baseline, **dict(zip(searched, chosen, strict=True))) for chosen in itertools.product(*values)
    ]
    plan = plan_caches(setup.table, [setup.baseline, *configs], setup.cache_dir)
    say(f"  cache     {plan.describe()}")
    if ranges := [name for name, domain in searched.items() if not isinstance(domain, Choice)]:
        say(f"            and one more for each {' and '.join(ranges)} that a trial tries, at most as large")
    plan.check_room()


def _highest(domain: Domain) -> tuple[Any, ...]:
    """The highest value of a range, which of image_size has the most pixels; a share takes as many whatever it is."""
    assert isinstance(domain, Float | Int), domain
    return (domain.high,)


def phases_at_own_best(limits: StoppingCriteria, trials: Sequence[FrozenTrial]) -> Phases:
    """The trainings, those to come included, of the rounds with each level at its own best setting, and no others."""
    own = sum(is_own_best(trial) and trial.state != TrialState.FAIL for trial in trials)
    return Phases(0, 0, own + max(0, num_left(trials, limits.n_trials)), 1.0)


def describe_own_rounds(found: Phases, compared: Sequence[str], judges: int, too_few: str = "") -> list[str]:
    """As ``describe_rounds``, of rounds with each level at its own best setting."""
    lines = [f"{count_of(found.rounds, 'training')} in rounds with each level at its own best setting"]
    if too_few:
        return [*lines, *wrapped(too_few)]
    size_RL = np.array(sizes_of_rounds(found, len(compared))[1:])
    if len(size_RL) < 2:
        return [*lines, "too few for two rounds, so there will be no answer"]
    found_by = f"{_findable(size_RL, len(compared), judges, OWN_TUNING):.2f}".lstrip("0")
    return [*lines, f"a difference of about {found_by} would be found four times in five ({len(compared) + 1} levels)"]


def show_duplicates(dataset: Dataset) -> None:
    """Print whether photos of the baseline's dataset are on both sides of its split."""
    for number, line in enumerate(duplicate_lines(dataset)):
        say(f"  {'' if number else 'copies':9s} {line}")


def _num_judges(setup: Setup) -> int:
    """The units that judge a round; those of the study's validation side where no others can."""
    try:
        table = with_judges(setup.table, change(setup.baseline, judge_round=1))
    except UserError:
        table = setup.table
    return table.count("valid")[0]


def _too_few(setup: Setup) -> str:
    """That there will be no verdict, if some round until everyone has judged has too few people for one; else empty."""
    task, config, photos = setup.table.task, setup.baseline, setup.table.photos
    sides = {0: photos}
    for number in range(1, 1 + max(2, round(1 / config.valid_share))):
        with suppress(UserError):
            sides[number] = choose_judges(
                photos, number, config.valid_share, config.split_seed, task.strata, task.splitter
            )
    found = {number: judges for number, side in sides.items() if (judges := too_few_judges(side)) is not None}
    if not found:
        return ""
    first = min(found)
    judges = found[first] if first > 1 else min(found.values())
    return too_few_text(judges, task.unit, photos["person"].nunique(), config.valid_share, first)


def describe_rounds(found: Phases, compared: Sequence[str] | int, judges: int, too_few: str = "") -> list[str]:
    """What the trials are for, what they cost, and how small a difference they would show.

    ``compared``: what the rounds compare with the reference, or how many finalists; ``too_few``: that there will be no
    verdict, and why.
    """
    lines = [
        f"{found.first} at the baseline's setting, {found.search} of the search, {found.rounds} in rounds;"
        f" the cost is that of about {found.trainings:.0f} full trainings"
    ]
    what = f"{compared} finalists" if isinstance(compared, int) else f"{len(compared) + 1} levels"
    others = compared if isinstance(compared, int) else len(compared)
    if not found.rounds:
        lines.append("too few for a round after the first, so there will be no answer")
    lines += wrapped(too_few)
    if found.rounds and not too_few:
        found_by = f"{findable(found, others, judges):.2f}".lstrip("0")
        lines.append(f"a difference of about {found_by} would be found four times in five ({what})")
    return lines


def findable(found: Phases, others: int, judges: int) -> float:
    """The difference of a level and the reference that four studies of five would find with rounds of this kind."""
    return _findable(np.array(sizes_of_rounds(found, others)), others, judges, TUNING)


def _findable(size_RL: NDArray[np.int64], others: int, judges: int, tuning: Variance) -> float:
    """``findable`` with rounds of these sizes, [rounds, the reference and the other levels]."""
    run = PEOPLE_DEVIATION**2 * SIMULATED_PEOPLE / judges + SEEDS_DEVIATION**2
    variance = run * (1 / size_RL[:, 0].sum() + 1 / size_RL[:, -1].sum()) + tuning.value
    dof = max(LEAST_DOF, float(size_RL.sum() - len(size_RL) - others))
    return min(1.0, detectable(math.sqrt(variance), dof, others))


def _other_limits(limits: StoppingCriteria) -> str:
    epochs = f", at most {limits.max_epochs:g} epochs in all" if limits.max_epochs is not None else ""
    patience = f", at most {limits.patience} in a row without improvement" if limits.patience is not None else ""
    return epochs + patience
