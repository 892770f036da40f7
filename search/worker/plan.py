"""What a study is going to do, said before its first trial; what cannot be had is found out here."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset
from maskcls.data.split import missing_classes
from maskcls.model.classifier import check_builds
from maskcls.system.console import say
from maskcls.system.errors import UserError, some
from maskcls.training.numerics import describe_device
from maskcls.training.speed import measure_speed
from search.answer.format import SYNTHETIC, duration
from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria
from search.study.hyperparameters import describe_domain, probe_values
from search.study.record import Stored
from search.study.study import Choice, Float, Int, Study
from search.worker.job import Setup

LONG_SECONDS = 6 * 3600
"""A study that would take longer is told what would shorten it."""

STRUCTURAL = ("backbone", "heads", "image_size")
"""Searched knobs that decide what a step costs, and whether it can be built at all."""


def backbones_of(study: Study) -> list[str]:
    """Every backbone that a trial may ask for."""
    domain = study.space.get("backbone")
    if isinstance(domain, Choice):
        return [str(option) for option in domain.options]
    return [str(study.fixed.get("backbone", TrainConfig().backbone))]


def show_plan(setup: Setup, limits: StoppingCriteria, finished: int, workers: int) -> None:
    """Data, split, weights, device, warm starts and rungs, in a line each."""
    stored, study = setup.stored, setup.stored.study
    say(f"Study {setup.name}: {study.question}")
    if study.synthetic:
        say(f"  {SYNTHETIC}")
    (train_people, train_photos), (valid_people, valid_photos) = setup.table.count("train"), setup.table.count("valid")
    say(f"  data      {stored.data}: {train_people + valid_people} people, {train_photos + valid_photos} photos")
    for note in () if study.synthetic else setup.table.notes:  # no label of a drawn person is wrong
        say(f"            {note}")
    say(
        f"  split     by person, {stored.split}: train {train_people} people, {train_photos} photos;"
        f" valid {valid_people} people, {valid_photos} photos"
    )
    missing = missing_classes(setup.table.photos, "valid", setup.baseline.task)
    if missing:
        say(f"            NO VALIDATION PHOTO OF: {some(missing)}. Their F1 counts 0 in every trial.")
    source = (
        "from scratch" if setup.weights.source == "scratch" else f"{setup.weights.source} ({stored.weights_option})"
    )
    say(f"  weights   {source}, {some(backbones_of(study))}")
    if setup.weights.note:
        say(f"            NOT PRETRAINED: {setup.weights.note}.")
    at_once = f", {workers} workers" if workers > 1 else ""
    say(f"  device    {describe_device(setup.device)}{at_once}")
    for role, domains in (("compared", study.scientific), ("tuned", study.nuisance)):
        if domains:
            texts = (f"{name} {describe_domain(name, domain)}" for name, domain in domains.items())
            say(f"  {role:9s} {'; '.join(texts)}")
    say(f"  pruning   {_pruning(setup)}")
    if stored.warm:
        sources = Counter(warm["from"] for warm in stored.warm)
        say(f"  warm      {'; '.join(f'{count} {source}' for source, count in sources.items())}")
    say(f"  trials    {finished} of {limits.n_trials} done{_other_limits(limits)}")


def _other_limits(limits: StoppingCriteria) -> str:
    epochs = f", at most {limits.max_epochs:g} epochs in all" if limits.max_epochs is not None else ""
    patience = f", at most {limits.patience} without a better one" if limits.patience is not None else ""
    return epochs + patience


def _pruning(setup: Setup) -> str:
    stored = setup.stored
    return Policy(stored.study, stored.seed).describe_pruning(setup.planned_evaluations)


def check_sizes(setup: Setup) -> None:
    """Raise UserError where a range of image_size has sizes that a backbone cannot take; nothing is computed."""
    domain = setup.stored.study.space.get("image_size")
    if not isinstance(domain, Float | Int):
        return  # the sizes of a Choice are all built for the estimate
    for config in _variants(setup.stored):
        for size in probe_values(domain):
            try:
                check_builds(change(config, image_size=size))
            except UserError as error:
                raise UserError(f"{error} Make image_size a Choice of sizes that {config.backbone} takes.") from None


def show_estimate(setup: Setup, data: Dataset, num_left: int, workers: int) -> None:
    """Time for the trials left, from a few real steps of every backbone; builds each, so that none fails later."""
    seconds = []
    for config in _variants(setup.stored):
        config = setup.resolve(config)
        photos = data if config.image_size == setup.baseline.image_size else setup.dataset(config)
        speed = measure_speed(config, photos, setup.device, setup.weights.file(config.backbone))
        seconds.append(speed.seconds(config, photos))
    mean = statistics.mean(seconds)
    total = mean * math.ceil(num_left / workers)  # side by side
    say(f"  time      about {duration(mean)} a trial, {duration(total)} for {num_left} if none is pruned")
    if total > LONG_SECONDS:
        say(f"            {_shorter(setup.stored.study)}")


def _variants(stored: Stored) -> Iterator[TrainConfig]:
    """The baseline, with dropout if any trial has it, with every combination of the structural knobs' options."""
    study = stored.study
    base = {**study.baseline, **_most_dropout(study)}
    searched = {name: domain.options for name in STRUCTURAL if isinstance(domain := study.space.get(name), Choice)}
    for values in itertools.product(*searched.values()):
        yield stored.config({**base, **dict(zip(searched, values, strict=True))})


def _most_dropout(study: Study) -> dict[str, Any]:
    """The highest drop_rate that is searched: whether it reaches the head shows only in a model that has it."""
    match study.space.get("drop_rate"):
        case Choice(options):
            return {"drop_rate": max(options, key=float)}
        case Float(_, high) | Int(_, high):
            return {"drop_rate": high}
        case _:
            return {}


def _shorter(study: Study) -> str:
    """What a user could set; the study itself is never shrunk."""
    offers = {"image_size": 96, "epochs": 3, "backbone": "tf_efficientnet_lite0"}
    current = {**TrainConfig().model_dump(), **study.fixed}
    useful = [
        f"--set {name}={value}"
        for name, value in offers.items()
        if name not in study.space and _smaller(current[name], value)
    ]
    return f"It runs as asked. Shorter: {' '.join([*useful, '--people 300'])} under another --name, or a GPU."


def _smaller(current: Any, offer: Any) -> bool:
    if isinstance(current, list | tuple):
        return max(current) > offer
    return current != offer if isinstance(offer, str) else current > offer
