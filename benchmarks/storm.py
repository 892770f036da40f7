"""A study whose processes are killed at random, again and again: is anything lost, doubled or changed?

    python benchmarks/storm.py
    python benchmarks/storm.py --restart-seconds 10

Runs 60 trials of a tiny model on synthetic photos with 4 workers. Every few seconds a random process of the service
is killed with SIGKILL: a worker, or the supervisor, which is then started again by the same command. At the end there
must be exactly 60 finished trials, none that still counts as running, a sound database, and every evaluation of every
trial must equal, to the last bit, that of an undisturbed run of the same config. With --restart-seconds the study is
stored on a PostgreSQL server of the benchmark's own, which is stopped and started again so often.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import torch
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import load_config
from maskcls.data.dataset import load_dataset, prepare_data_folder, read_table
from maskcls.scoring.metrics import Scores
from maskcls.training.loop import fit
from search.database.connect import default_url, load_study, open_storage
from search.policy.stopping import count_finished
from search.storage.retention import trial_folder

STUDY = '''"""Does dropout help the toy?"""
from search.study.study import Choice, Float, Study

STUDY = Study(
    question="Does dropout help the toy?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-3, 1e-1, log=True)},
    fixed={
        "backbone": "test_efficientnet",
        "image_size": 48,
        "epochs": 6,
        "evaluations_per_epoch": 2,
        "threads": 1,
        "augment": ("flip", "cutmix"),
    },
    baseline={"drop_rate": 0.0, "lr": 1e-2},
    synthetic=True,
)
'''
MARK = "STORM_MARK"


def processes(mark: str) -> dict[int, str]:
    """The service's processes: pid -> "supervisor" or "worker"."""
    found = {}
    for home in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (home / "environ").read_bytes():
                command = (home / "cmdline").read_bytes()
                kind = "worker" if b"search.worker" in command else "supervisor" if b"search.run" in command else ""
                if kind:
                    found[int(home.name)] = kind
        except OSError:
            continue
    return found


def rage(command: list[str], log: Path, rng: random.Random, mean_seconds: float) -> tuple[Counter[str], int]:
    """Run the command and kill until it has ended by itself; returns kills by kind and the starts it took."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark}
    kills: Counter[str] = Counter()
    starts = 0
    while True:
        starts += 1
        with log.open("a", encoding="utf-8") as file:
            supervisor = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        while supervisor.poll() is None:
            time.sleep(rng.uniform(0.2, 2 * mean_seconds) if mean_seconds else 1)
            if not mean_seconds:
                continue
            alive = processes(mark)
            if alive and supervisor.poll() is None:
                victim = rng.choice(sorted(alive))
                os.kill(victim, signal.SIGKILL)
                kills[alive[victim]] += 1
        text = log.read_text(encoding="utf-8")
        found_none = supervisor.returncode == 2 and "cannot be opened" in text.splitlines()[-1]
        # a command that begins while the server is down is refused, and given again
        if supervisor.returncode != -signal.SIGKILL and not found_none:
            break
    assert supervisor.returncode == 0, log.read_text(encoding="utf-8")[-3000:]
    while processes(mark):  # orphans of killed supervisors end after their evaluation
        time.sleep(0.2)
    return kills, starts


class Restarts:
    """A database server that is stopped and started again, again and again."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.url, self.count = seconds, "", 0

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """From now on until the end of the block; afterwards the server stays up."""
        over = threading.Event()
        thread = threading.Thread(target=self._restart, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _restart(self, over: threading.Event) -> None:
        while self.seconds and not over.wait(self.seconds):
            self.server.stop()
            time.sleep(0.5)
            self.server.start()
            self.count += 1

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A server of its own, where one is asked for."""
        if not self.seconds:
            yield
            return
        sys.path.append(str(Path(__file__).parents[1]))
        from tests.helpers.postgres import server

        with server() as self.server:
            self.url = self.server.url
            yield


def differing(trial: FrozenTrial, runs: Path) -> str:
    """What an undisturbed run of the trial's config says that the trial does not; empty when they are equal."""
    config, _ = load_config(trial_folder(runs / "toy", trial.number) / "config.toml")
    data = load_dataset(read_table(prepare_data_folder("synthetic", runs), config), config, runs / "cache")
    curve: dict[int, float] = {}

    def note(step: int, scores: Scores) -> bool:
        curve[step] = scores.macro_f1
        return step < max(trial.intermediate_values)

    fit(config, data, note, device=torch.device("cpu"))
    if curve != trial.intermediate_values or max(curve.values()) != trial.value:
        return f"trial {trial.number}: {trial.intermediate_values} {trial.value}, undisturbed {curve}"
    return ""


def integrity(database: Path) -> str:
    """What SQLite says of its file."""
    with sqlite3.connect(database) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def main() -> None:
    """Rage, then look at what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="between two kills, on average; 0: no kills")
    parser.add_argument("--restart-seconds", type=float, default=0, help="between two restarts of the database server")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    restarts = Restarts(asked.restart_seconds)
    with tempfile.TemporaryDirectory() as home, restarts.serving():
        runs = Path(home) / "runs"
        (Path(home) / "toy.py").write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "search.run", "--study", f"{home}/toy.py", "--runs", str(runs), "--force"]
        command += ["--n-trials", str(asked.trials), "--workers", str(asked.workers)]
        command += ["--storage", restarts.url] if restarts.url else []
        begun = time.monotonic()
        with restarts.going_on():
            kills, starts = rage(command, Path(home) / "log", random.Random(asked.seed), asked.seconds)
        minutes = (time.monotonic() - begun) / 60
        study = load_study(open_storage(restarts.url or default_url(runs), create=False), "toy")
        trials = study.get_trials()
        if restarts.url:
            print(f"{restarts.count} restarts of the database server")
        print(f"{sum(kills.values())} kills ({dict(kills)}), {starts} starts, {minutes:.1f} min, 2 cores shared")
        print(f"states: {dict(Counter(trial.state.name for trial in trials))}; finished {count_finished(trials)}")
        print(f"interruptions noted: {sum(trial.user_attrs.get('interruptions', 0) for trial in trials)}")
        sound = "ok" if restarts.url else integrity(runs / "studies.db")
        print(f"database: {sound}")
        torch.set_num_threads(1)
        wrong = [text for trial in trials if trial.value is not None and (text := differing(trial, runs))]
        print(f"compared with undisturbed runs: {len(trials)} trials, {len(wrong)} differ", *wrong, sep="\n")
        assert count_finished(trials) == asked.trials
        assert not any(trial.state == TrialState.RUNNING for trial in trials)
        assert sound == "ok"
        assert not wrong


if __name__ == "__main__":
    main()
