"""Workers that Slurm starts, preempts, loses with their node and starts again: is the total exact?

    apt-get install slurm-wlm munge
    python benchmarks/slurm.py sleepers --trials 160 --seconds 5
    python benchmarks/slurm.py recipe

A Slurm of its own runs as root on this machine: munged, slurmctld and four slurmd, each a node of two cores that are
not bound to real ones. Jobs that are preempted get SIGTERM and are queued again, as are those of a node that goes down.

"sleepers": an array of eight workers of cluster.py, which sleep instead of training and die of SIGTERM at once. Two of
them are preempted (scontrol requeue), one gets SIGTERM alone (scancel) and is started anew, and one node goes down with
its workers, its slurmd killed, and comes up again. The checks are those of cluster.py: exactly so many finished trials,
each stored by one worker and with its whole curve.

"recipe": deploy/slurm.sh itself, as it stands, with two tasks that train a tiny backbone on synthetic photos; their
study is planned by search.run, which is stopped after its first trial. One task gets SIGTERM as two minutes before the
end of its time, must end in order (130) and queue itself again; the other is preempted. The total must be exact.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cluster
import optuna
from optuna.trial import TrialState

from search.database.connect import load_study, open_storage
from search.policy.stopping import FINISHED, count_finished

ROOT = Path(__file__).parents[1]
NODES, TASKS = 4, 8
WAIT_SECONDS = 600.0

CONFIG = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket,cred_expire=20
SlurmctldPort={port}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=0
SlurmdTimeout=30
JobAcctGatherType=jobacct_gather/none
"""

SLEEPER = """
import sys
from pathlib import Path
sys.path[:0] = [{benchmarks!r}, {root!r}]
import cluster
home, slot = Path({home!r}), "cpu." + sys.argv[1]
cluster.work(cluster.Order({url!r}, slot, home / (sys.argv[1] + ".log"), {trials}, {seconds}, home / "stop"))
"""


class Slurm:
    """A Slurm of our own in a folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "SLURM_CONF": str(home / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Until all nodes are idle."""
        ports = free_ports(NODES + 1)
        lines = [CONFIG.format(host=socket.gethostname(), home=self.home, port=ports[0])]
        for number, port in enumerate(ports[1:], start=1):
            lines.append(
                f"NodeName=n{number} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port} CPUs=2"
            )
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO\n")
        (self.home / "slurm.conf").write_text("\n".join(lines))
        (self.home / "state").mkdir()
        key = self.home / "munge.key"
        key.write_bytes(random.randbytes(128))
        key.chmod(0o600)
        place = f"{self.home}/munge"
        files = [f"--pid-file={place}.pid", f"--log-file={place}.log", f"--seed-file={place}.seed"]
        self.daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={place}.socket", *files)
        wait_for(Path(f"{place}.socket").exists, "munged")
        self.daemon("slurmctld", "-D")
        for number in range(1, NODES + 1):
            self.start_node(f"n{number}")
        wait_for(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(NODES), "the nodes")

    def start_node(self, name: str) -> None:
        """Start a node's daemon."""
        (self.home / f"spool-{name}").mkdir(exist_ok=True)
        self.daemon("slurmd", "-D", "-N", name, called=name)

    def daemon(self, program: str, *words: str, called: str = "") -> None:
        with (self.home / f"{called or program}.out").open("ab") as out:
            self.daemons[called or program] = subprocess.Popen(
                [program, *words], stdout=out, stderr=out, env=self.environment, start_new_session=True
            )

    def ask(self, program: str, *words: str) -> str:
        """What a command of Slurm says; its complaints go to our stderr."""
        return subprocess.run([program, *words], env=self.environment, stdout=subprocess.PIPE, text=True).stdout

    def states(self) -> dict[str, str]:
        """Array task -> its state, of the jobs that are known."""
        lines = self.ask("squeue", "-h", "-r", "-t", "all", "-o", "%K %T").split("\n")
        return dict(line.split() for line in lines if line)

    def stop(self) -> None:
        """Cancel what runs, and end the daemons."""
        self.ask("scancel", "--user=root")
        time.sleep(2)
        for daemon in reversed(list(self.daemons.values())):
            daemon.terminate()
        for daemon in self.daemons.values():
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


@contextmanager
def slurm() -> Iterator[Slurm]:
    """A running one, in a new folder."""
    home = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    made = Slurm(home)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(home, ignore_errors=True)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.5)


def sleepers(asked: argparse.Namespace) -> None:
    """The array of sleepers, and what happens to it."""
    with cluster.serving() as served, slurm() as engine:
        url = served.url
        study = cluster.make_study(url, "tpe")
        logs = engine.home / "logs"
        logs.mkdir()
        script = engine.home / "sleeper.py"
        values = {"benchmarks": str(ROOT / "benchmarks"), "root": str(ROOT), "home": str(logs), "url": url}
        script.write_text(SLEEPER.format(**values, trials=asked.trials, seconds=asked.seconds))
        began = time.time()
        options = [f"--array=0-{TASKS - 1}", "--requeue", "--open-mode=append", f"--output={logs}/%a.out"]
        wrapped = f"exec {sys.executable} {script} $SLURM_ARRAY_TASK_ID"
        job = engine.ask("sbatch", "--parsable", *options, f"--wrap={wrapped}").strip()
        done = lambda: count_finished(study.get_trials(deepcopy=False))  # noqa: E731
        wait_for(lambda: done() >= asked.trials * 0.2, "the first fifth")
        say(began, done(), f"preempting tasks 1 and 2: {engine.states()}")
        engine.ask("scontrol", "requeue", f"{job}_1")
        engine.ask("scontrol", "requeue", f"{job}_2")
        wait_for(lambda: done() >= asked.trials * 0.4, "two fifths")
        say(began, done(), f"SIGTERM to task 3: {engine.states()}")
        engine.ask("scancel", "--signal=TERM", "--full", f"{job}_3")
        wait_for(lambda: engine.states().get("3") not in ("RUNNING", "COMPLETING"), "the end of task 3")
        engine.ask("scontrol", "requeue", f"{job}_3")
        node = engine.ask("squeue", "-h", "-j", f"{job}_4", "-o", "%N").strip()
        lost = engine.ask("squeue", "-h", "-r", "-w", node, "-o", "%K").split()
        say(began, done(), f"{node} goes down with tasks {lost}: {engine.states()}")
        engine.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=pulled")
        wait_for(
            lambda: not engine.ask("squeue", "-h", "-w", node, "-t", "R,CG", "-o", "%K").split(), "the node's jobs"
        )
        engine.daemons[node].kill()
        engine.daemons[node].wait()
        wait_for(lambda: done() >= asked.trials * 0.6, "three fifths")
        say(began, done(), f"{node} comes up: {engine.states()}")
        engine.start_node(node)
        engine.ask("scontrol", "update", f"nodename={node}", "state=resume")
        wait_for(lambda: done() >= asked.trials, "the end")
        wait_for(lambda: not set(engine.states().values()) & {"RUNNING", "PENDING", "COMPLETING"}, "the last workers")
        wall, states = time.time() - began, engine.states()
        say(began, done(), f"the end: {states}")
        check(study, logs, asked.trials, wall)


def check(study: optuna.Study, logs: Path, trials: int, wall: float) -> None:
    """The checks of cluster.py."""
    crew = cluster.Crew("", logs, trials, 0.0)
    stored, lines = study.get_trials(deepcopy=False), crew.lines()
    ended = [int(line[1]) for each in lines.values() for line in each if line[0] == cluster.ENDED]
    begun = sum(line[0] == cluster.BEGUN for each in lines.values() for line in each)
    wrong = [trial.number for trial in stored if not cluster._is_whole(trial)]
    dealt = [
        (trial.user_attrs[cluster.ROUND], trial.user_attrs[cluster.PLACE])
        for trial in stored
        if trial.state in FINISHED and cluster.PLACE in trial.user_attrs
    ]
    states = sorted({trial.state.name for trial in stored})
    print(f"{len(stored)} trials {states} in {wall:.0f} s; begun {begun} times, ended {len(ended)}; not whole {wrong}")
    assert count_finished(stored) == trials == len(stored)
    assert len(ended) == len(set(ended))
    assert not wrong
    assert len(dealt) == len(set(dealt))


def say(began: float, done: int, words: str) -> None:
    print(f"{time.time() - began:4.0f} s, {done} trials: {words}", flush=True)


STUDY = '''"""Does dropout help the tiny one?"""

from search.study import Choice, Float, Study

STUDY = Study(
    question="Does dropout help the tiny one?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-4, 1e-2, log=True)},
    fixed={"backbone": "test_efficientnet", "image_size": 32, "epochs": 6, "evaluations_per_epoch": 2},
    baseline={"drop_rate": 0.0, "lr": 1e-3},
    synthetic=True,
)
'''


def recipe(asked: argparse.Namespace) -> None:
    """deploy/slurm.sh, with real workers."""
    with cluster.serving() as served, slurm() as engine:
        url = served.url
        work = engine.home / "work"
        work.mkdir()
        (work / "tiny.py").write_text(STUDY)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MASKCLS_STORAGE": url, "STUDY": "tiny"}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        environment |= {"MASKCLS_WORKERS": "1"}
        engine.environment |= environment
        words = ["-m", "search.run", "--study", "tiny.py", "--n-trials", str(asked.trials), "--device", "cpu"]
        with (work / "plan.log").open("w") as log:
            planner = subprocess.Popen(
                [sys.executable, *words], cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        study = None
        until = time.monotonic() + WAIT_SECONDS
        while study is None or not count_finished(study.get_trials(deepcopy=False)):
            assert planner.poll() is None, (work / "plan.log").read_text()
            assert time.monotonic() < until, (work / "plan.log").read_text()
            time.sleep(1)
            try:
                study = study or load_study(open_storage(url, create=False), "tiny")
            except ValueError:
                continue
        planner.send_signal(signal.SIGTERM)
        planner.wait()
        began = time.time()
        done = lambda: count_finished(study.get_trials(deepcopy=False))  # noqa: E731
        say(began, done(), f"planned; the planning command ended with {planner.returncode}")
        size = ["--array=0-1", "--gres=none", "--cpus-per-task=1", "--mem=0", f"--chdir={work}", "--output=task-%a.log"]
        job = engine.ask("sbatch", "--parsable", *size, str(ROOT / "deploy" / "slurm.sh")).strip()
        working = lambda: {  # noqa: E731
            trial.number for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.RUNNING
        }
        wait_for(lambda: len(working()) == 2, "both tasks at work")
        say(began, done(), f"SIGTERM to task 0, task 1 preempted: {engine.states()}")
        engine.ask("scancel", "--signal=TERM", f"{job}_0")
        engine.ask("scontrol", "requeue", f"{job}_1")
        wait_for(lambda: "Stopped by SIGTERM" in (work / "task-0.log").read_text(), "task 0 to stop in order")
        say(began, done(), f"task 0 has stopped in order: {engine.states()}")
        wait_for(lambda: not set(engine.states().values()) & {"RUNNING", "PENDING", "COMPLETING"}, "the end")
        for number in (0, 1):
            print(f"--- task {number}\n{(work / f'task-{number}.log').read_text()}")
        trials = study.get_trials(deepcopy=False)
        say(began, done(), f"the end: {engine.states()}, {sorted({trial.state.name for trial in trials})}")
        assert done() == asked.trials == len(trials)
        assert (work / "task-0.log").read_text().count("Joining study tiny") == 2


def main() -> None:
    """The one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sleepers", "recipe"])
    parser.add_argument("--trials", type=int, default=None, help="finished trials to reach; 160, of the recipe 8")
    parser.add_argument("--seconds", type=float, default=5.0, help="sleepers: of a trial that is not stopped early")
    asked = parser.parse_args()
    asked.trials = asked.trials or (160 if asked.what == "sleepers" else 8)
    (sleepers if asked.what == "sleepers" else recipe)(asked)


if __name__ == "__main__":
    main()
