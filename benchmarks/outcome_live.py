"""``outcome.py live``: all arms for the same time, judged by groups that none of them has seen."""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from outcome_arms import ARMS, Job, Row
from outcome_data import deal, read_set

from maskcls.system.console import say
from maskcls.system.cores import num_cores
from maskcls.system.errors import UserError

COLUMNS = (
    *("arm", "n", "realised, median", "realised", "less ours, single", "promised", "promised less realised", "seconds"),
)
SINGLE = "ours, single"


def live(asked: argparse.Namespace) -> None:
    """Run what is not in the file yet, and print a table for every set."""
    if "timm" in asked.arms and not (asked.timm_scripts and (asked.timm_scripts / "train.py").is_file()):
        raise UserError(
            "--arms timm needs timm's train.py, which its package does not have: give a checkout by --timm-scripts DIR"
            " (git clone https://github.com/huggingface/pytorch-image-models DIR), or leave timm out of --arms."
        )
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # ours sets it; the other arms share the machine's noise too
    done = _read(asked.out)
    for text in asked.set:
        name, photos = read_set(text, asked.work)
        for seed in range(asked.first, asked.first + asked.seeds):
            groups, labels = photos.table["group"].to_numpy(), photos.table["label"].to_numpy()
            shares = [asked.seen_share, 1 - asked.seen_share]
            seen, held = map(photos.of_groups, deal(groups, labels, shares, np.random.default_rng([18, seed])))
            for arm in asked.arms:
                if (name, seed, arm) in done:
                    continue
                home = Path(tempfile.mkdtemp(prefix=f"{name}-{seed}-{arm}-", dir=asked.work)).resolve()
                job = Job(
                    **{"seen": seen, "held": held, "classes": photos.classes, "seconds": asked.seconds, "seed": seed},
                    **{"backbone": asked.backbone, "image_size": asked.image_size, "epochs": asked.epochs},
                    **{"batch_size": asked.batch_size, "default_lr": asked.default_lr, "weights": asked.weights},
                    **{"device": asked.device, "cores": num_cores(), "timm": asked.timm_scripts, "home": home},
                )
                rows = ARMS[arm](job)
                done[name, seed, arm] = rows
                _append(asked.out, name, seed, arm, rows)
                for row in rows:
                    say(f"{name}, seed {seed}: {row.arm} promised {row.promised:.4f}, realised {row.realised:.4f}"
                        f" in {row.seconds:.0f} s ({row.note})")  # fmt: skip
                if not asked.keep:
                    shutil.rmtree(home)
        say(f"{len(seen.table)} photos of {seen.table['group'].nunique()} groups seen,"
            f" {len(held.table)} of {held.table['group'].nunique()} held out")  # fmt: skip
        say(table_of(name, [(seed, row) for (set_, seed, _), rows in done.items() if set_ == name for row in rows]))


def table_of(name: str, rows: Sequence[tuple[int, Row]]) -> str:
    """Markdown: a row for every export, means with standard errors over the seeds. ``rows``: (seed, export).

    The difference from our single model is paired: of the seeds that have both.
    """
    lines = [f"### {name}", "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    single = {seed: row.realised for seed, row in rows if row.arm == SINGLE}
    for arm in dict.fromkeys(row.arm for _, row in rows):
        of = {seed: row for seed, row in rows if row.arm == arm}
        realised = [row.realised for row in of.values()]
        less = [row.realised - single[seed] for seed, row in of.items() if seed in single and arm != SINGLE]
        promised = [row.promised for row in of.values()]
        optimism = [row.promised - row.realised for row in of.values()]
        cells = [arm, str(len(of)), f"{statistics.median(realised):.4f}", _mean(realised), _mean(less, "+")]
        cells += [_mean(promised), _mean(optimism, "+"), f"{statistics.fmean(row.seconds for row in of.values()):.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return ""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.4f}{error}"


def _read(file: Path | None) -> dict[tuple[str, int, str], list[Row]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    known = [json.loads(line) for line in lines]
    return {(each["set"], each["seed"], each["arm"]): [Row(**row) for row in each["rows"]] for each in known}


def _append(file: Path | None, name: str, seed: int, arm: str, rows: Sequence[Row]) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as lines:
            found = {"set": name, "seed": seed, "arm": arm, "rows": [asdict(row) for row in rows]}
            lines.write(json.dumps(found) + "\n")
