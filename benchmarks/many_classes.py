"""Many classes: seconds and memory of a trial's picture, of a look at rounds, of the answer and of the report.

    python benchmarks/many_classes.py
    python benchmarks/many_classes.py --classes 40 50 --photos 15000 --trials 60

A study without training: its trials' predictions are drawn at random, each photo right with a chance that grows from
trial to trial, else of a class near its own. Without groups every photo is a unit; --people makes groups. Several
numbers after --classes make a label of several factors. Seconds are of the CPU, of all threads together. Every part
runs in a process of its own, so that the largest memory (ru_maxrss) is that part's; "import" is a process that only
imports what the others do.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from optuna.trial import TrialState, create_trial

from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.scoring.counts import count
from maskcls.scoring.judges import Training
from maskcls.scoring.metrics import confusion_matrix, score
from maskcls.scoring.plots import draw_confusion
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.rounds import estimate
from maskcls.tasks.task import Source, Task, Unit
from search.database.connect import create_study, default_url, load_study, open_storage, open_to_read
from search.page.build import SECTIONS
from search.page.data import ReportOptions, gather
from search.storage.retention import trial_folder
from search.study.attributes import REPLICATE, ROLE
from search.study.record import KEY, Stored
from search.study.space import distributions
from search.study.study import Choice, Float, Study

NAME = "many"
ASKED = Study(
    question="Does dropout help?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-4, 1e-1, log=True)},
    fixed={"backbone": "test_efficientnet", "image_size": 32, "epochs": 2},
    baseline={"drop_rate": 0.0, "lr": 1e-2},
)
VALID_SHARE = 0.2


def task_of(classes: list[int], people: int) -> Task:
    """A task of so many classes in each of its factors."""
    factors = tuple(
        Factor(f"factor {number}" if len(classes) > 1 else "species", tuple(f"kind {each}" for each in range(size)))
        for number, size in enumerate(classes)
    )
    unit = {"unit": Unit("person", "people")} if people else {}
    return Task("many", LabelSpace(factors), Source("folders"), **unit)


def draw(noise_NK: np.ndarray, people: int, number: int) -> Predictions:
    """Predictions of a trial on the photos of the validation side, the same photos for every trial."""
    photos, size = noise_NK.shape
    label_N = np.random.default_rng(0).permutation(np.arange(photos) % size)
    rng = np.random.default_rng([1, number])
    is_right_N = rng.random(photos) < 0.4 + 0.005 * number
    said_N = np.where(is_right_N, label_N, (label_N + rng.geometric(0.1, photos)) % size)
    score_NK = noise_NK.copy()
    score_NK[np.arange(photos), said_N] += 12
    log_prob_NK = score_NK - np.log(np.exp(score_NK).sum(1, keepdims=True))
    path_N = np.char.mod("photos/%06d.jpg", np.arange(photos))
    person_N = np.char.mod("p%05d", np.arange(photos) % people) if people else path_N
    return Predictions(path_N, person_N, label_N, log_prob_NK)


def store(runs: Path, task: Task, photos: int, people: int, trials: int) -> None:
    """The study with its trials' files, in ``runs``."""
    stored = Stored(ASKED, "/photos", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0, task=task)
    study = create_study(open_storage(default_url(runs), create=True), NAME, {KEY: stored.to_json()})
    noise_NK = np.random.default_rng(0).normal(size=(photos, task.space.num_classes)).astype(np.float32)
    for number in range(trials):
        predictions = draw(noise_NK, people, number)
        folder = trial_folder(runs / NAME, number)
        folder.mkdir(parents=True)
        predictions.save(folder / "valid.npz")
        scores = score(predictions.log_prob_NK, predictions.label_N, task.space)
        values = {"drop_rate": 0.5 * (number % 2), "lr": ASKED.baseline["lr"] / (1 + number // 4)}
        role = "baseline" if number == 0 else REPLICATE if number % 4 > 1 else None
        facts = {
            **({} if role is None else {ROLE: role}),
            **{"config": json.loads(stored.config(values).model_dump_json()), "accuracy": scores.accuracy},
            **{"loss": scores.loss, "evaluations": 4, "evaluations_planned": 4, "seconds": 60.0},
        }
        curve = {step: scores.macro_f1 * step / 4 for step in range(1, 5)}
        domains = distributions(ASKED.space)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=scores.macro_f1,
                params=values,
                distributions=domains,
                intermediate_values=curve,
                user_attrs=facts,
            )
        )


def measure_picture(runs: Path, task: Task) -> None:
    """Median of three pictures of a trial, as they are drawn at its end."""
    predictions = Predictions.load(trial_folder(runs / NAME, 0) / "valid.npz")
    path, seconds = runs / "confusion.png", []
    for _ in range(3):
        begun = time.process_time()
        matrix_KK = confusion_matrix(predictions.label_N, predictions.log_prob_NK.argmax(1), task.space.num_classes)
        draw_confusion(matrix_KK, task.space, "trial 0", path)
        seconds.append(time.process_time() - begun)
    tell("picture", statistics.median(seconds), f"{path.stat().st_size / 1024:.0f} KiB")


def measure_looks(runs: Path, task: Task) -> None:
    """An estimate from ten trainings in five rounds, each round judged by everyone."""
    trainings = []
    for number in range(10):
        predictions = Predictions.load(trial_folder(runs / NAME, number) / "valid.npz")
        said_N = predictions.log_prob_NK.argmax(1)
        counts = count(predictions.person_N, predictions.label_N, said_N, task.space)
        trainings.append(Training("ab"[number % 2], number // 2, counts))
    begun = time.process_time()
    estimate(trainings, "a")
    tell("look at 5 rounds", time.process_time() - begun)


def measure_report(runs: Path, skipped: list[str]) -> None:
    """The answer, then every section of the page, in the order of the page."""
    begun = time.process_time()
    material = gather(load_study(open_to_read(default_url(runs)), NAME), ReportOptions(runs, photos=False))
    tell("answer", time.process_time() - begun)
    for make in SECTIONS:
        if make.__name__ not in skipped:
            start = time.process_time()
            make(material)
            tell(make.__name__, time.process_time() - start)
    tell("report together", time.process_time() - begun)


def nothing() -> None:
    """Only what the imports take."""
    tell("import", 0.0)


def tell(what: str, seconds: float, more: str = "") -> None:
    """A line with the time of a part, and the largest memory of its process so far."""
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:24s} {seconds:8.2f} s  {mib:6.0f} MiB  {more}".rstrip(), flush=True)


def alone(work: Callable[..., None], *arguments: object) -> int:
    """Run the work in a process of its own; its exit status."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode or 0


def main() -> None:
    """Draw the study, and measure its parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[500], help="classes of every factor")
    parser.add_argument("--photos", type=int, default=15_000, help="a fifth of them judges")
    parser.add_argument("--people", type=int, default=0, help="groups among those that judge; 0: every photo is one")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--skip", nargs="*", default=[], metavar="SECTION", help="sections of the report to leave out")
    typed = parser.parse_args()
    task, photos = task_of(typed.classes, typed.people), round(VALID_SHARE * typed.photos)
    assert task.space.predicted(ALL).num_classes <= photos, "every class needs a photo that judges"
    print(f"{task.space.num_classes} classes, {photos} photos that judge, {typed.trials} trials")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        store(runs, task, photos, typed.people, typed.trials)
        parts = ((nothing,), (measure_picture, runs, task), (measure_looks, runs, task))
        failed = [alone(*part) for part in (*parts, (measure_report, runs, typed.skip))]
    sys.exit(max(failed))


if __name__ == "__main__":
    main()
