"""Train one configuration again and again with other seeds: real A/A data for ``benchmarks/evidence.py --retrainings``.

    python benchmarks/retrain.py --data DIR -o runs/retrainings --runs 24

One folder a run (``seed-000`` ...), as maskcls.train writes it; runs that are there are not trained again. Small and
from scratch by default (test_efficientnet at 64 px); ``--weights DIR --set backbone=...`` for another model. The scores
are those of the last evaluation, as search.confirm has them: nothing is chosen by the people who judge.
"""

import argparse
from pathlib import Path

import torch

from maskcls.config import TrainConfig, change, make_config, parse_assignment
from maskcls.data.dataset import load_dataset, read_table
from maskcls.model.weights import resolve_weights
from maskcls.training.loop import evaluation_stops
from maskcls.training.numerics import resolve
from maskcls.training.run_folder import finished_result, train_into

SMALL = TrainConfig(backbone="test_efficientnet", image_size=(64, 64), epochs=8, batch_size=32, lr=1e-2, keep="last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--first", type=int, default=0, help="seed of the first run, to share the work")
    parser.add_argument("--weights", default="scratch")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the training config")
    asked = parser.parse_args()
    base = make_config({**SMALL.model_dump(), **dict(parse_assignment(text) for text in asked.set)})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = resolve(base, device)
    table = read_table(asked.data, base)
    data = load_dataset(table, base, asked.out / "cache")
    weights = resolve_weights(asked.weights, [base.backbone])
    for seed in range(asked.first, asked.first + asked.runs):
        folder, config = asked.out / f"seed-{seed:03d}", change(base, seed=seed)
        origin = {"made_by": "benchmarks/retrain.py", "split": table.hash, "weights": weights.describe()}
        result = finished_result(folder, config, origin, len(evaluation_stops(config, len(data.train.row_N))))
        if result is None:
            weight_file = weights.file(config.backbone)
            _, result = train_into(
                folder, config, data, lambda *_: True, origin=origin, device=device, weight_file=weight_file
            )
        print(f"seed {seed}: macro F1 {result.history[-1].scores.macro_f1:.4f}", flush=True)


if __name__ == "__main__":
    main()
