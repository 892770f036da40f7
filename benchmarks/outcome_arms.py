"""The arms of ``outcome.py live``: what each runs, what it promises, and what it says of the groups held out."""

import csv
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from engine_arms import call
from outcome_data import Photos
from outcome_study import baseline_of
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from maskcls.config import config_to_toml, load_config, make_config
from maskcls.model.weights import resolve_weights
from maskcls.run.record import WEIGHTS
from maskcls.scoring.predictions import Predictions
from maskcls.system.console import say
from search.database.connect import default_url, load_study, open_to_read
from search.findings.evidence import answer_of
from search.storage.retention import trial_folder
from search.study.record import read_stored

HERE = Path(__file__).parent
NAME = "outcome"
"""The stored name of our study."""

EFFICIENTNET_B0 = {"aa": "rand-m9-mstd0.5", "remode": "pixel", "reprob": 0.2, "drop": 0.2, "drop-path": 0.2}
"""The augmentation and regularisation of "EfficientNet-B0 with RandAugment", Training Examples of timm's documentation
(hfdocs/source/training_script.mdx). It documents no recipe for fine-tuning: AdamW, cosine and warm-up are those of its
newer recipes (hparams.mdx), and the rest are train.py's defaults, such as random resized crops."""

WARMUP_SHARE = 0.1
REFIT_VALID_SHARE = 0.05
"""Of the groups, in the last training on nearly everyone, to see that nothing went wrong."""
MEASURED_EPOCHS = 2


@dataclass(frozen=True)
class Job:
    """What every arm is given."""

    seen: Photos
    held: Photos
    classes: list[str]
    seconds: float
    """That each arm may take."""
    seed: int
    backbone: str
    image_size: int
    epochs: int
    """Of a trial: who writes a study chooses them, so both studies have the same."""
    batch_size: int
    default_lr: float
    weights: str
    """scratch, or a folder of <backbone>.safetensors."""
    device: str
    cores: int
    timm: Path | None
    """Checkout of pytorch-image-models."""
    home: Path
    """An empty folder."""

    @property
    def weight_file(self) -> str:
        """Empty: from scratch."""
        file = resolve_weights(self.weights, [self.backbone]).file(self.backbone)
        return "" if file is None else str(Path(file).resolve())

    def score(self, true: Sequence[str], said: Sequence[str]) -> float:
        """Macro F1 over all classes of the set."""
        return float(f1_score(true, said, average="macro", labels=self.classes, zero_division=0))


@dataclass(frozen=True)
class Row:
    """An arm's export, or one of several."""

    arm: str
    promised: float
    realised: float
    seconds: float
    """From the arm's first command until the export is there."""
    note: str = ""


# --- photos in folders of classes, for programs that split by photo ---------------------------------------------------


def class_folders(job: Job) -> Path:
    """Links to the photos as train/, validation/ and held/<class>/; the split is by photo, stratified by class."""
    root = job.home / "photos"
    table = job.seen.table
    train, valid = train_test_split(table, test_size=0.2, stratify=table["label"], random_state=job.seed)
    for side, rows in (("train", train), ("validation", valid), ("held", job.held.table)):
        for name in job.classes:
            (root / side / name).mkdir(parents=True)
        for path, label in zip(rows["path"], rows["label"], strict=True):
            (root / side / label / path.replace("/", "-")).symlink_to(job.seen.folder / path)
    return root


def score_of_pairs(job: Job, pairs: Sequence[tuple[str, int]]) -> float:
    """The score of (path in a folder of its class, class said)."""
    return job.score([Path(path).parent.name for path, _ in pairs], [job.classes[said] for _, said in pairs])


# --- (a) timm's train.py ----------------------------------------------------------------------------------------------


def timm(job: Job) -> list[Row]:
    """train.py by its command line, for as many epochs as fit, as two measured epochs say; exports model_best.

    What it promises is that checkpoint's macro F1 on its own validation photos, since train.py knows accuracy only.
    """
    assert job.timm is not None
    photos = class_folders(job)
    (job.home / "classes.txt").write_text("".join(f"{name}\n" for name in job.classes))
    begun, told = _epochs_of_timm(job, photos, MEASURED_EPOCHS, "measured")
    epoch = told[-1] - told[-2]
    epochs = max(1, int((job.seconds - (told[0] - begun) + epoch) / epoch))
    start = time.perf_counter()
    _epochs_of_timm(job, photos, epochs, "train")
    seconds = time.perf_counter() - start
    checkpoint = job.home / "timm" / "train" / "model_best.pth.tar"
    promised, realised = (_inferred_by_timm(job, photos / side, checkpoint) for side in ("validation", "held"))
    return [Row("timm's train.py", promised, realised, seconds, f"{epochs} epochs")]


def _shared_by_timm(job: Job) -> list[str]:
    size = str(job.image_size)
    words = ["--model", job.backbone, "--num-classes", str(len(job.classes)), "--input-size", "3", size, size]
    on_gpu = ["--amp", "--amp-dtype", "bfloat16"] if job.device.startswith("cuda") else []
    words += ["--class-map", str(job.home / "classes.txt"), "--workers", str(job.cores), "--device", job.device]
    return [*words, *on_gpu]


def _epochs_of_timm(job: Job, photos: Path, epochs: int, experiment: str) -> tuple[float, list[float]]:
    """(when train.py began, when each epoch was over), by the lines of its summary."""
    options = {
        **{"data-dir": photos, "batch-size": job.batch_size, "epochs": epochs, "seed": job.seed},
        **{"opt": "adamw", "lr": job.default_lr, "weight-decay": 0.01, "sched": "cosine"},
        **{"warmup-epochs": round(WARMUP_SHARE * epochs), "checkpoint-hist": 1, "log-interval": 10**6},
        **{"output": job.home / "timm", "experiment": experiment},
        **EFFICIENTNET_B0,
    }
    words = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    words += _shared_by_timm(job)
    words += ["--pretrained", "--pretrained-path", job.weight_file] if job.weight_file else []
    words += [] if job.device.startswith("cuda") else ["--no-prefetcher"]
    summary, log = job.home / "timm" / experiment / "summary.csv", job.home / f"timm-{experiment}.log"
    told: list[float] = []
    with log.open("w") as output:
        begun = time.perf_counter()
        process = subprocess.Popen([sys.executable, "train.py", *words], cwd=job.timm, stdout=output, stderr=output)
        while process.poll() is None:
            lines = len(summary.read_text().splitlines()) - 1 if summary.exists() else 0
            told += [time.perf_counter()] * (lines - len(told))
            time.sleep(0.05)
    rows = list(csv.DictReader(summary.open())) if summary.exists() else []
    if process.returncode != 0 or len(rows) != epochs:
        sys.exit(f"train.py: {log.read_text()[-4000:]}")
    return begun, told + [time.perf_counter()] * (epochs - len(told))


def _inferred_by_timm(job: Job, folder: Path, checkpoint: Path) -> float:
    """The score of inference.py's answers."""
    assert job.timm is not None
    out = job.home / f"{folder.name}.csv"
    options = {"data-dir": folder, "checkpoint": checkpoint, "results-dir": out.parent, "results-file": out.name}
    words = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    words += ["--include-index", "--fullname", "--label-type", "none", "--no-console-results", "--log-freq", str(10**6)]
    call([str(job.timm / "inference.py"), *words, *_shared_by_timm(job)])
    table = pd.read_csv(out)
    return score_of_pairs(job, list(zip(table["filename"], table["index"].astype(int), strict=True)))


# --- (b) an Optuna script ---------------------------------------------------------------------------------------------


def script(job: Job) -> list[Row]:
    """arms/study.py: TPE, MedianPruner, a split by photo, best_trial."""
    given = {
        **{name: value for name, value in asdict(job).items() if isinstance(value, str | int | float | list)},
        **{"photos": str(class_folders(job)), "weight_file": job.weight_file},
    }
    (job.home / "job.json").write_text(json.dumps(given))
    words = [str(HERE / "arms" / "study.py"), str(job.home / "job.json"), str(job.home)]
    start = time.perf_counter()
    call(words)
    seconds = time.perf_counter() - start
    call([*words, f"{given['photos']}/held", str(job.home / "held.json")])
    told = json.loads((job.home / "promised.json").read_text())
    pairs = json.loads((job.home / "held.json").read_text())
    return [Row("Optuna script", told["promised"], score_of_pairs(job, pairs), seconds, f"{told['trials']} trials")]


# --- (c) ours ---------------------------------------------------------------------------------------------------------


def ours(job: Job) -> list[Row]:
    """search.run within the time, then what its commands make of it; search.confirm adds half the time again."""
    runs = job.home / "runs"
    start = time.perf_counter()
    place = [*_data(job, "seen", job.seen), "--group", "group", "--runs", str(runs)]
    limits = ["--n-trials", "100000", "--timeout", str(job.seconds), "--seed", str(job.seed), "--device", job.device]
    pinned = {name: getattr(job, name) for name in ("backbone", "image_size", "epochs", "batch_size")}
    words = ["-m", "search.run", "--study", str(HERE / "outcome_study.py"), "--name", NAME, "--weights", job.weights]
    words += [word for name, value in pinned.items() for word in ("--set", f"{name}={value}")]
    environment = {"OUTCOME_LR": str(job.default_lr)}
    call([*words, *place, *limits], environment)
    seconds = time.perf_counter() - start
    rows = [_single(job, "ours, single", seconds)]
    rows.append(_refit(job, rows[0].promised, seconds))
    for arm, command, out, table in (
        ("ours, soup", ["-m", "search.soup", "--force"], job.home / "soup", "soup"),
        ("ours, ensemble", ["-m", "search.ensemble"], job.home / "team.toml", ""),
    ):
        rows += _joined(job, arm, [*command, "--study", NAME, "--runs", str(runs), "-o", str(out)], out, table, seconds)
    begun = time.perf_counter()
    more = ["--repeats", "2", "--timeout", str(job.seconds / 2), "--device", job.device, "--runs", str(runs)]
    call(["-m", "search.confirm", "--study", NAME, *more], environment)
    return [*rows, _single(job, "ours, confirmed", seconds + time.perf_counter() - begun)]


def _data(job: Job, name: str, photos: Photos) -> list[str]:
    """The options that read these photos; their table is written."""
    file = job.home / f"{name}.csv"
    photos.table.to_csv(file, index=False)
    return ["--data", str(photos.folder), "--table", str(file), "--path", "path", "--label", "label"]


def _single(job: Job, arm: str, seconds: float) -> Row:
    """The model that search.export names, by the score that the answer says to expect."""
    runs, file = job.home / "runs", job.home / f"{arm.split()[-1]}.toml"
    call(["-m", "search.export", "--study", NAME, "--runs", str(runs), "-o", str(file)])
    study = load_study(open_to_read(default_url(runs)), NAME)
    answer = answer_of(study, read_stored(study), runs)
    model = trial_folder(runs / NAME, load_config(file)[1]["trial"])
    assert answer.winner is not None
    assert answer.winner.trial == load_config(file)[1]["trial"]
    if not (model / WEIGHTS).exists():
        model = job.home / file.stem
        call(["-m", "maskcls.train", "--config", str(file), "--data", str(job.seen.folder), "-o", str(model)])
    trainings = len(answer.rounds.sides[answer.rounds.best].trials) if answer.rounds and answer.rounds.looks else 0
    note = f"{len(study.trials)} trials, {trainings} trainings of the exported recipe in rounds"
    return Row(arm, answer.winner.expected, _evaluated(job, model), seconds, note)


def _refit(job: Job, promised: float, seconds: float) -> Row:
    """The recipe of the single model trained once more, on nearly everyone, who are not left to say how good it is."""
    out, begun = job.home / "refit", time.perf_counter()
    # the few who validate are too few to choose a checkpoint, as keep = "best" would have them do
    changes = ("judge_round=0", f"valid_share={REFIT_VALID_SHARE}", "keep=last")
    more = [word for value in changes for word in ("--set", value)]
    place = [*_data(job, "seen", job.seen), "--group", "group", "--runs", str(job.home / "runs"), "-o", str(out)]
    words = ["-m", "maskcls.train", "--config", str(job.home / "single.toml"), "--device", job.device]
    call([*words, *more, *place])
    seconds += time.perf_counter() - begun
    return Row("ours, refit", promised, _evaluated(job, out), seconds, f"validated by {REFIT_VALID_SHARE:.0%}")


def _joined(job: Job, arm: str, words: list[str], out: Path, table: str, seconds: float) -> list[Row]:
    """A soup or an ensemble; none where the command says that there are too few models."""
    begun = time.perf_counter()
    try:
        call(words)
    except SystemExit as refused:
        say(f"  {arm}: {str(refused)[-300:]}")
        return []
    seconds += time.perf_counter() - begun
    file = out / "config.toml" if out.is_dir() else out
    origin: dict[str, Any] = tomllib.loads(file.read_text())["origin"]
    facts = origin[table] if table else origin
    return [Row(arm, facts["corrected"], _evaluated(job, out), seconds, f"gain {facts['gain']}")]


def _evaluated(job: Job, model: Path) -> float:
    """The score of maskcls.evaluate's predictions."""
    out = job.home / f"{model.stem}-held"
    where = ["--people", "all", "-o", str(out), "--runs", str(job.home / "runs"), "--device", job.device]
    call(["-m", "maskcls.evaluate", "--model", str(model), *_data(job, "held", job.held), *where])
    predictions = Predictions.load(out / "predictions.npz")
    label_of = dict(zip(job.held.table["path"], job.held.table["label"], strict=True))
    names = sorted(job.classes, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))
    said = [names[number] for number in predictions.log_prob_NK.argmax(1)]
    true = [label_of[path] for path in predictions.path_N.tolist()]
    assert [names[number] for number in predictions.label_N] == true
    return job.score(true, said)


# --- the default configuration ----------------------------------------------------------------------------------------


def default(job: Job) -> list[Row]:
    """One training of the default configuration, as long as a trial: what a search should at least beat."""
    values = {**baseline_of(job.default_lr), "backbone": job.backbone, "image_size": job.image_size}
    config = make_config({**values, "epochs": job.epochs, "batch_size": job.batch_size, "seed": job.seed})
    file, out = job.home / "default.toml", job.home / "default"
    file.write_text(config_to_toml(config, {}))
    start = time.perf_counter()
    place = [*_data(job, "seen", job.seen), "--group", "group", "--runs", str(job.home / "runs"), "-o", str(out)]
    where = ["--weights", job.weights, "--device", job.device]
    call(["-m", "maskcls.train", "--config", str(file), *place, *where])
    seconds = time.perf_counter() - start
    history = json.loads((out / "history.json").read_text())["evaluations"]
    promised = max(evaluation["scores"]["macro_f1"] for evaluation in history)
    return [Row("default configuration", promised, _evaluated(job, out), seconds, f"{job.epochs} epochs")]


ARMS: dict[str, Callable[[Job], list[Row]]] = {"timm": timm, "script": script, "ours": ours, "default": default}
