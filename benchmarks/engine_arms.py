"""The arms of engine.py: what each runs, and what it found."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from arms.job import Job

HERE = Path(__file__).parent
ROOT = HERE.parent
STUDY = HERE / "engine_study.py"
GLIBCS_OWN = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=64"}
"""A setting without effect here; the project leaves the allocator alone where it finds any."""


@dataclass(frozen=True)
class Outcome:
    """One trial."""

    macro_f1: float
    train_seconds: float
    valid_seconds: float
    accuracy: float = math.nan
    """Its best; for timm's train.py, which knows no F1."""


@dataclass(frozen=True)
class Script:
    """A script of arms/."""

    name: str

    def run(self, job: Job, home: Path, data: "Data") -> None:
        """The whole study in one process."""
        job.save(home / "job.json")
        call([str(HERE / "arms" / f"{self.name}.py"), str(home / "job.json"), str(home / "out")])

    def outcomes(self, job: Job, home: Path, data: "Data") -> list[Outcome]:
        """What it wrote down."""
        return [Outcome(**found) for found in json.loads((home / "out").read_text())]


@dataclass(frozen=True)
class Ours:
    """search.run, with more options or another environment."""

    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    one_command_a_trial: bool = False
    warm_cache: bool = False

    def run(self, job: Job, home: Path, data: "Data") -> None:
        """The study by its command; a cache and a database of its own, so that both are made anew."""
        runs = home / "runs"
        if self.warm_cache:
            (runs / "cache").mkdir(parents=True)
            for file in data.cache.glob("*.*"):  # the photos; what a GPU's probe found is another lever
                os.link(file, runs / "cache" / file.name)
        trials = range(1, len(job.lrs) + 1) if self.one_command_a_trial else [len(job.lrs)]
        for count in trials:
            where = ["--study", str(STUDY), "--name", "engine", "--runs", str(runs), "--n-trials", str(count)]
            environment = {"ENGINE_LRS": json.dumps(job.lrs), **self.environment}
            call(["-m", "search.run", *where, *data.options(job), *self.options], environment)

    def outcomes(self, job: Job, home: Path, data: "Data") -> list[Outcome]:
        """From the stored study; its cache stays for the arm that begins with one."""
        runs = home / "runs"
        if not data.cache.exists():
            shutil.copytree(runs / "cache", data.cache)
        return outcomes_of(runs, job)


@dataclass(frozen=True)
class TimmTrain:
    """timm's own train.py, of a checkout: a process a trial."""

    checkout: Path

    def run(self, job: Job, home: Path, data: "Data") -> None:
        """One call a trial; its folder of classes is made of links, in a moment that counts."""
        photos = _class_folders(job, home / "photos")
        on_gpu = job.device.startswith("cuda")
        for index, lr in enumerate(job.lrs):
            size = str(job.image_size)
            options = {
                **{"data-dir": photos, "model": job.backbone, "num-classes": 18, "batch-size": job.batch_size},
                **{"epochs": job.epochs, "opt": "adamw", "lr": lr, "weight-decay": job.weight_decay, "sched": "cosine"},
                **{"warmup-epochs": 0, "cooldown-epochs": 0, "workers": job.cores, "device": job.device},
                **{"seed": job.seed, "output": home / "timm", "experiment": index, "crop-pct": 1.0},
                **{"hflip": 0.5 * ("flip" in job.augment), "color-jitter": 0.0, "smoothing": 0.0},
                **{"log-interval": 10**6},
            }
            words = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
            words += ["--input-size", "3", size, size, "--scale", "1", "1", "--ratio", "1", "1", "--channels-last"]
            words += ["--mean", *map(str, job.mean), "--std", *map(str, job.std)]
            words += ["--amp", "--amp-dtype", "bfloat16", "--pin-mem"] if on_gpu else ["--no-prefetcher"]
            words += ["--pretrained", "--pretrained-path", job.weight_file] if job.weight_file else []
            call([str(self.checkout / "train.py"), *words])

    def outcomes(self, job: Job, home: Path, data: "Data") -> list[Outcome]:
        """Its summaries; what it trains and validates in is not told apart."""
        found = []
        for summary in sorted((home / "timm").glob("*/summary.csv"), key=lambda path: int(path.parent.name)):
            best = max(float(row["eval_top1"]) for row in csv.DictReader(summary.open())) / 100
            found.append(Outcome(math.nan, math.nan, math.nan, best))
        return found


@dataclass(frozen=True)
class Data:
    """What the arms share."""

    cache: Path
    """A cache that some arm of ours has built."""
    people: int
    weights: str

    def options(self, job: Job) -> list[str]:
        """Of search.run, for this trial list."""
        fixed = {
            **{"backbone": job.backbone, "image_size": job.image_size, "epochs": job.epochs},
            **{"batch_size": job.batch_size, "augment": json.dumps(job.augment)},
        }
        pinned = [word for name, value in fixed.items() for word in ("--set", f"{name}={value}")]
        shared = ["--weights", self.weights, "--device", job.device, "--seed", str(job.seed)]
        return ["--data", job.folder, *(["--people", str(self.people)] if self.people else []), *shared, *pinned]


def call(words: list[str], environment: dict[str, str] | None = None) -> None:
    """Run this Python with these words; what it prints is shown only when it fails."""
    ended = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True
    )
    if ended.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")


def outcomes_of(runs: Path, job: Job) -> list[Outcome]:
    """What the stored study tells, in the order of the job's learning rates."""
    photos = len(job.train) // job.batch_size * job.batch_size * job.epochs
    study = optuna.load_study(study_name="engine", storage=f"sqlite:///{runs}/studies.db")
    trials = {trial.user_attrs["config"]["lr"]: trial for trial in study.get_trials()}
    assert sorted(trials) == sorted(job.lrs), trials
    found = []
    for trial in (trials[lr] for lr in job.lrs):
        assert trial.state.name == "COMPLETE", trial
        assert trial.value is not None
        record = json.loads((runs / f"engine/trial-{trial.number:04d}/history.json").read_text())
        history: list[dict[str, Any]] = record["evaluations"]
        train = sum(photos / len(history) / evaluation["photos_per_second"] for evaluation in history)
        found.append(Outcome(trial.value, train, history[-1]["seconds"] - train, trial.user_attrs["best_accuracy"]))
    return found


def _class_folders(job: Job, home: Path) -> Path:
    for side, samples in (("train", job.train), ("validation", job.valid)):
        for label in range(18):
            (home / side / f"{label:02d}").mkdir(parents=True)
        for path, label in samples:
            (home / side / f"{label:02d}" / path.replace("/", "-")).symlink_to(Path(job.folder) / path)
    return home
