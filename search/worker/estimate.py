"""Before the first trial: how long a study takes, and whether every model that a trial may use can be built."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset, Table
from maskcls.model.classifier import build_model, check_builds
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.training.speed import measure_speed
from search.answer.format import duration
from search.study.domains import Domain, probe_values
from search.study.record import Stored
from search.study.study import Choice, Float, Int, Study
from search.worker.job import Setup

LONG_SECONDS = 6 * 3600
"""A longer study is shown with options that would shorten it."""

FEWER_GROUPS, FEWER_PHOTOS = 300, 2000
"""What a shorter study may do with."""

STRUCTURAL = ("backbone", "heads", "image_size", "optimizer", "tta")
"""Hyperparameters that decide what a step or an evaluation costs, and whether the model can be built."""

MOST_DEMANDING: dict[str, Callable[[Iterable[float]], float]] = {
    "drop_rate": max,
    "drop_path_rate": max,
    "layer_decay": min,
}
"""Hyperparameters that some models cannot have but at their defaults, with what finds the value farthest from it. None
changes what a step costs."""


def check_sizes(setup: Setup) -> None:
    """Raise UserError where a range of image_size has sizes that a backbone cannot take. Runs no model."""
    domain = setup.stored.study.space.get("image_size")
    if not isinstance(domain, Float | Int):
        return  # show_estimate builds every size of a Choice
    for config in _variants(setup.stored):
        for size in probe_values(domain):
            try:
                check_builds(change(config, image_size=size), setup.stored.space)
            except UserError as error:
                raise UserError(f"{error} Make image_size a Choice of sizes that {config.backbone} takes.") from None


def show_estimate(setup: Setup, dataset: Dataset, trials_left: int, workers: int, sharers: int = 1) -> None:
    """Print how long ``trials_left`` take, from a few real steps of every model that a trial may build.

    On a GPU, where these would keep all workers waiting, only the baseline takes steps: a model of another kind is
    timed when a trial first uses it.
    ``dataset``: the baseline's photos. ``sharers``: number of workers on one GPU. The steps have it to themselves, so
    the time is given as a range: from what it is if they do not slow each other down, to what it is if they take turns.
    Raises UserError for a model that cannot be built.
    """
    configs = list(_variants(setup.stored))
    like = ""
    if setup.device.type == "cuda":
        _check_can_be_built(setup, configs)
        like = " like the baseline" if len(configs) > 1 else ""
        configs = [change(setup.baseline, **_demanding_values(setup.stored.study))]
    seconds = []
    for config in configs:
        config = setup.resolve(config)
        photos = dataset if config.image_size == setup.baseline.image_size else setup.dataset(config)
        speed = measure_speed(config, photos, setup.device, setup.weights.file(config.backbone))
        seconds.append(speed.seconds(config, photos))
    mean = statistics.mean(seconds)
    total = mean * math.ceil(trials_left / workers)
    if sharers > 1:
        say(f"  time      about {duration(mean)} a trial{like} that has its GPU alone; {sharers} workers share one, so")
        say(f"            {duration(total)} to {duration(sharers * total)} for {trials_left} if none is pruned")
    else:
        say(f"  time      about {duration(mean)} a trial{like}, {duration(total)} for {trials_left} if none is pruned")
    if total > LONG_SECONDS:
        say(f"            {_advice(setup.stored.study, setup.table)}")


def _check_can_be_built(setup: Setup, configs: Iterable[TrainConfig]) -> None:
    """Raise UserError for a model that cannot be built, or whose backbone's weights cannot be read."""
    read: set[str] = set()
    for config in configs:
        setup.stored.task.check(config)
        check_builds(config, setup.stored.space)
        weight_file = setup.weights.file(config.backbone)
        if weight_file is not None and config.backbone not in read:
            build_model(config, setup.stored.space, weight_file)
            read.add(config.backbone)


def _variants(stored: Stored) -> Iterator[TrainConfig]:
    """The baseline with every combination of the structural hyperparameters' options, and with what else is searched
    that some models cannot have.
    """
    study = stored.study
    base = {**study.baseline, **_demanding_values(study)}
    options = {name: domain.options for name in STRUCTURAL if isinstance(domain := study.space.get(name), Choice)}
    for values in itertools.product(*options.values()):
        yield stored.config({**base, **dict(zip(options, values, strict=True))})


def _demanding_values(study: Study) -> dict[str, Any]:
    """The values of MOST_DEMANDING that are searched: whether dropout reaches the head, say, shows only where there is
    some. And the mean ``frozen_share``, for what a trial costs on average.
    """
    searched = {name: _ends(study.space[name]) for name in (*MOST_DEMANDING, "frozen_share") if name in study.space}
    return {name: MOST_DEMANDING.get(name, statistics.mean)(ends) for name, ends in searched.items()}


def _ends(domain: Domain) -> list[float]:
    """The options of a choice, the ends of a range."""
    if isinstance(domain, Choice):
        return [float(option) for option in domain.options]
    assert isinstance(domain, Float | Int), domain
    return [domain.low, domain.high]


def _advice(study: Study, table: Table) -> str:
    """Options that would shorten the study, which itself is never shrunk."""
    cheaper = {"image_size": 96, "epochs": 3, "backbone": "tf_efficientnet_lite0"}
    current = {**TrainConfig().model_dump(), **study.fixed}
    options = [
        f"--set {name}={value}"
        for name, value in cheaper.items()
        if name not in study.space and _would_help(current[name], value)
    ]
    fewer = FEWER_GROUPS if table.task.has_groups else FEWER_PHOTOS
    if table.task.source.reader == "mask" or table.photos["person"].nunique() > fewer:
        options.append(f"--people {fewer}")
    return f"To shorten it: {' '.join(options)} under another --name, or a GPU."


def _would_help(current: Any, cheaper: Any) -> bool:
    if isinstance(current, list | tuple):
        return max(current) > cheaper
    return current != cheaper if isinstance(cheaper, str) else current > cheaper
