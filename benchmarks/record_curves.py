"""Record learning curves of our own trainer on real photos, on which benchmarks/policy.py replays search policies.

    python benchmarks/record_curves.py --data DIR --weights DIR -o benchmarks/curves.jsonl

Trains every configuration to its end and writes one line for each; the same command again continues after the last
line. The configurations are Sobol points of SPACE; some of them are trained again with other seeds, for the noise.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from scipy.stats import qmc

from maskcls.config import TrainConfig, make_config
from maskcls.data.dataset import Dataset, load_dataset, read_table
from maskcls.model.weights import resolve_weights
from maskcls.scoring.metrics import Scores
from maskcls.system.console import say
from maskcls.training.loop import DivergedError, fit
from maskcls.training.numerics import resolve
from search.policy.samplers import value_at
from search.study.space import distributions, values_of
from search.study.study import Choice, Domain, Float, Subset

SPACE: dict[str, Domain] = {
    "lr": Float(1e-4, 1e-2, log=True),
    "drop_rate": Float(0.0, 0.7),
    "weight_decay": Float(1e-4, 1.0, log=True),
    "label_smoothing": Float(0.0, 0.3),
    "class_weights": Choice("none", "sqrt", "balanced"),
    "augment": Subset("flip", "gaussian", "cutmix", "sharpness", "contrast"),
}
FIXED = {
    "backbone": "tf_efficientnet_lite0",
    "image_size": 48,
    "people": 300,
    "epochs": 5,
    "evaluations_per_epoch": 2,
    "threads": 1,
}
NUM_CONFIGS = 64
REPEATED, REPEATS = 4, 3
"""How many of the first configurations are trained again, with how many other seeds."""


def configurations() -> list[tuple[dict[str, object], int]]:
    """(parameters, training seed) of every run, in order."""
    space = distributions(SPACE)
    points = qmc.Sobol(len(space), rng=0).random(NUM_CONFIGS)
    params = [
        {name: value_at(domain, float(share)) for (name, domain), share in zip(space.items(), point, strict=True)}
        for point in points
    ]
    again = [(params[index], seed) for seed in range(1, REPEATS + 1) for index in range(REPEATED)]
    return [*((each, 0) for each in params), *again]


def train(config: TrainConfig, data: Dataset, weight_file: Path | None) -> list[float]:
    """Macro F1 at every evaluation; shorter if the training diverged."""
    curve: list[float] = []

    def note(_: int, scores: Scores) -> bool:
        curve.append(round(scores.macro_f1, 5))
        return True

    try:
        fit(config, data, note, device=torch.device("cpu"), weight_file=weight_file)
    except DivergedError as error:
        say(f"  {error}")
    return curve


def main() -> None:
    """Train the configurations that are not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset folder")
    parser.add_argument("--weights", required=True, help="folder of <backbone>.safetensors")
    parser.add_argument("-o", "--out", type=Path, required=True, help="file to append to, one JSON object a line")
    options = parser.parse_args()
    base = make_config(FIXED)
    table = read_table(options.data, base)
    weight_file = resolve_weights(options.weights, [base.backbone]).file(base.backbone)
    done = len(options.out.read_text().splitlines()) if options.out.exists() else 0
    with tempfile.TemporaryDirectory() as cache:
        data = load_dataset(table, base, Path(cache))
        for index, (params, seed) in enumerate(configurations()):
            if index < done:
                continue
            values = values_of(SPACE, params)
            config = resolve(make_config({**FIXED, **values, "seed": seed}), torch.device("cpu"))
            curve = train(config, data, weight_file)
            with options.out.open("a") as file:
                file.write(json.dumps({"params": params, "seed": seed, "curve": curve}) + "\n")
            say(f"{index + 1}: {curve}")


if __name__ == "__main__":
    main()
