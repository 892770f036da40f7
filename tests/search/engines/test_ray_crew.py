"""--ray: what its options mean, and what is refused before any work. No cluster runs here."""

import importlib.util
import socket
from pathlib import Path

import pytest

import search.confirm
import search.run
from maskcls.system.errors import OutsideError, UserError
from search.engines.ray_crew import RayCrew, check_one_machine, gpus_for, with_absolute_paths
from search.engines.remote_run import RemoteRun
from search.engines.room import Node
from search.supervisor.launch import Launch
from tests.helpers.search import complain, order_for

CPU, GPU = Node("10.0.0.1", 4, 0), Node("10.0.0.2", 8, 2)


@pytest.fixture
def closed_port() -> str:
    """The address of a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--ray", "auto", "--device", "cuda:1"), "Ray gives every worker its device; leave out --device cuda:1"),
        (("--ray", "auto", "--force"), "leave out --force"),
        (("--gpus-per-worker", "0.5"), "leave it out, or give --ray"),
        (("--ray", "auto", "--gpus-per-worker", "2"), "--gpus-per-worker"),
        (("--ray", "here"), "--ray here is no address of a Ray cluster. Give auto or HOST:PORT"),
        (("--ray", "ray://here:10001"), "is no address"),
        (("--ray", "CLOSED"), "No Ray cluster answers at 127.0.0.1:"),
    ],
)
def test_options_that_cannot_be_are_one_line_before_any_work(
    options: tuple[str, ...],
    hint: str,
    closed_port: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("ray")
    words = [closed_port if word == "CLOSED" else word for word in options]
    told = complain(
        monkeypatch, capsys, search.run.main, "--study", "quickstart", "--runs", str(tmp_path / "r"), *words
    )
    assert hint in told
    assert not (tmp_path / "r").exists()


def test_without_a_cluster_auto_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray")

    def find_none(**options: object) -> None:  # another test's may run
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", find_none)
    words = ("--study", "quickstart", "--ray", "auto", "--runs", str(tmp_path / "r"))
    told = complain(monkeypatch, capsys, search.run.main, *words)
    assert "The Ray cluster auto cannot be used: Could not find any running Ray instance. Start one here with" in told


def test_without_ray_the_command_to_install_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "ray" else find_spec(name))
    words = ("--study", "quickstart", "--ray", "auto", "--runs", str(tmp_path / "r"))
    told = complain(monkeypatch, capsys, search.run.main, *words)
    assert told == "error: --ray needs Ray, which is not installed: pip install 'mask-search[ray]'.\n"


def test_one_machine_may_use_sqlite_and_several_may_not() -> None:
    check_one_machine([CPU, CPU], "auto")  # two nodes of a test, which share the disk and its locks
    with pytest.raises(
        UserError, match=r"has 2 machines, and an SQLite file serves the workers of one\. Give .*--storage"
    ):
        check_one_machine([CPU, GPU], "auto")


@pytest.mark.parametrize(
    ("nodes", "asked", "gpus"), [([CPU], None, 0.0), ([CPU, GPU], None, 1.0), ([GPU], 0.5, 0.5), ([GPU], 0.0, 0.0)]
)
def test_a_worker_has_a_gpu_where_there_are_any(nodes: list[Node], asked: float | None, gpus: float) -> None:
    assert gpus_for(nodes, asked) == gpus


@pytest.mark.parametrize(
    ("nodes", "asked", "words"),
    [
        ([CPU], 0.5, "The Ray cluster has no GPU, so a worker with --gpus-per-worker 0.5 would wait for ever"),
        ([Node("10.0.0.3", 0, 1)], None, "lends no CPU for a worker"),
        ([], None, "lends no CPU for a worker"),
    ],
)
def test_what_would_wait_for_ever_is_refused(nodes: list[Node], asked: float | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        gpus_for(nodes, asked)


def test_a_lost_cluster_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = pytest.importorskip("ray.exceptions")

    def lose(run: RemoteRun) -> int:
        raise exceptions.RayActorError

    monkeypatch.setattr(RemoteRun, "run", lose)
    crew = RayCrew("10.0.0.1:6379", 0.0, Launch(tmp_path), 1)
    monkeypatch.setattr(crew, "_cluster", lambda order: None)
    with pytest.raises(OutsideError, match=r"The Ray cluster 10.0.0.1:6379 was lost: .*\. The same command continues"):
        crew.run(order_for(tmp_path, 1), None, lambda *_: None)


def test_paths_of_an_order_hold_in_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    order = with_absolute_paths(order_for(Path("runs"), 1))
    assert (order.url, order.runs, order.cache) == (f"sqlite:///{tmp_path}/runs/studies.db", f"{tmp_path}/runs", "")
