"""``outcome.py record``: train configurations to their end on a part of the groups; keep what they say of others."""

import argparse
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import outcome_recording
import torch
from numpy.typing import NDArray
from outcome_data import Photos, deal, read_set
from outcome_recording import Judges, Setup
from outcome_study import baseline_of, space_of
from scipy.stats import qmc

from maskcls.config import make_config
from maskcls.data.dataset import Dataset, find_task, load_dataset, read_table
from maskcls.model.inference import log_probs, validation_batch_size
from maskcls.model.weights import Weights, resolve_weights
from maskcls.reading.source import SourceOptions
from maskcls.system.console import say
from maskcls.training.loop import DivergedError, Run
from maskcls.training.numerics import pick_device, resolve
from search.policy.samplers import value_at
from search.study.space import distributions, values_of


def record(asked: argparse.Namespace) -> None:
    """Train what is not in the file yet; --for-seconds ends it after a training, and the same command goes on."""
    started = time.monotonic()
    name, photos = read_set(asked.set, asked.work)
    config = {"image_size": asked.image_size, "epochs": asked.epochs, "batch_size": asked.batch_size, "threads": 1}
    weights = resolve_weights(asked.weights, asked.backbones)
    with tempfile.TemporaryDirectory(dir=asked.work) as work:
        shares = [asked.trained_share, asked.judging_share]
        splits = [_split(photos, shares, split, Path(work)) for split in range(asked.splits)]
        fixed = {**config, "backbone": asked.backbones[0], "weights": weights.describe()["source"]}
        configurations = _configurations(asked.backbones, asked.default_lr, asked.configurations)
        setup = Setup(name, photos.classes, fixed, asked.backbones, configurations, asked.seeds, [])
        data = [_load(photos, config, table, asked.work / "cache") for table in splits]
        setup.splits.extend(_judges(each) for each in data)
        recording = outcome_recording.begin(asked.out, setup)
        missing = [key for key in setup.trainings() if key not in recording.said]
        say(f"{name}: {len(missing)} of {len(setup.trainings())} trainings to record")
        for place, (split, number, seed) in enumerate(missing):
            if asked.for_seconds and time.monotonic() - started > asked.for_seconds:
                return
            began, values = time.monotonic(), {**config, **configurations[number], "seed": seed}
            said = _train({"backbone": asked.backbones[0], **values}, data[split], weights, asked.device)
            outcome_recording.append(asked.out, (split, number, seed), said, len(data[split].valid.row_N))
            say(f"{place + 1} of {len(missing)}: {configurations[number]}  {time.monotonic() - began:.1f} s")


def _configurations(backbones: list[str], default_lr: float, number: int) -> list[dict[str, Any]]:
    """The default, then Sobol points of the space, in values of TrainConfig."""
    space = space_of(backbones)
    domains = distributions(space)
    points = qmc.Sobol(len(domains), rng=0).random_base2(math.ceil(math.log2(number)))[: number - 1]
    params = [
        {name: value_at(domain, float(share)) for (name, domain), share in zip(domains.items(), point, strict=True)}
        for point in points
    ]
    return [
        _plain(values) for values in (baseline_of(default_lr, backbones), *(values_of(space, each) for each in params))
    ]


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _split(photos: Photos, shares: list[float], number: int, work: Path) -> Path:
    """A table of photos whose column "split" gives these shares of all groups to training and to judging."""
    groups, labels = photos.table["group"].to_numpy(), photos.table["label"].to_numpy()
    trained, judging = deal(groups, labels, shares, np.random.default_rng(number))
    table = photos.of_groups([*trained, *judging]).table
    side = np.where(table["group"].isin(set(trained)), "train", "valid")
    table.assign(split=side).to_csv(work / f"split-{number}.csv", index=False)
    return work / f"split-{number}.csv"


def _load(photos: Photos, config: dict[str, Any], table: Path, cache: Path) -> Dataset:
    options = SourceOptions(str(table), "path", ("label",), "group", "split")
    base = make_config(config)
    return load_dataset(
        read_table(photos.folder, base, task=find_task(photos.folder, options)), base, cache / photos.folder.name
    )


def _judges(data: Dataset) -> Judges:
    valid = data.valid
    return Judges(valid.person_N.tolist(), valid.label_N.tolist(), len(set(data.train.person_N.tolist())))


def _train(values: dict[str, Any], data: Dataset, weights: Weights, device: str) -> list[NDArray[np.int64]]:
    """The classes that the model says, evaluation by evaluation; fewer if the training diverged."""
    torch_device = pick_device(device)
    config = resolve(make_config(values), torch_device)
    torch.set_num_threads(config.threads)
    run = Run(config, data, torch_device, weights.file(config.backbone))
    said: list[NDArray[np.int64]] = []
    try:
        for stop in run.stops:
            run.train_until(stop)
            batches = run.valid.in_order(validation_batch_size(config, torch_device, len(run.valid)))
            log_prob_NK = log_probs(run.judged_model, (image for image, _ in batches), config)
            if not np.isfinite(log_prob_NK).all():
                break
            said.append(log_prob_NK.argmax(1))
    except DivergedError as error:
        say(f"  {error}")
    finally:
        run.close()
    return said
