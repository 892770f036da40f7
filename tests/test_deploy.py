"""The recipes of deploy/: short, readable by their engines, and every command in them is one of ours."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.reference import COMMANDS, parameters_of

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
RECIPES = [path for path in sorted(DEPLOY.iterdir()) if path.suffix != ".dockerignore"]
JOB = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
(CONTAINER,) = JOB["spec"]["template"]["spec"]["containers"]
SKY = yaml.safe_load((DEPLOY / "skypilot.yaml").read_text("utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")


def commands() -> list[list[str]]:
    """The words of every command, from the module's name on."""
    texts = [path.read_text("utf-8").replace("\\\n#", "") for path in RECIPES]
    lines = [line for text in texts for line in re.findall(r"python -m (search\.[^&>|\n`]*)", text)]
    images = [line for text in texts for line in re.findall(r"^# +mask-search (.*)", text, flags=re.MULTILINE)]
    found = [shlex.split(line) for line in lines] + [["search.run", *shlex.split(line)] for line in images]
    return [*found, ["search.run", *CONTAINER["args"]]]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_is_at_most_25_lines(path: Path) -> None:
    assert 10 <= len(path.read_text("utf-8").splitlines()) <= 25


def test_every_command_is_one_of_ours_that_joins() -> None:
    found = commands()
    assert len(found) >= 4
    for words in found:
        assert words[0] in COMMANDS
        known = {name for parameter in parameters_of(words[0]) for name in parameter.opts}
        used = {word for word in words[1:] if word.startswith("-")}
        assert used <= known
        assert {"--study", "--join"} <= used


def test_the_job_is_an_indexed_one_with_a_secret_and_time_to_stop() -> None:
    spec, pod = JOB["spec"], JOB["spec"]["template"]["spec"]
    assert (JOB["apiVersion"], JOB["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert spec["completions"] == spec["parallelism"]
    assert pod["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    assert pod["terminationGracePeriodSeconds"] >= 60
    (variable,) = CONTAINER["env"]
    assert variable["name"] == "MASKCLS_STORAGE"
    assert set(variable["valueFrom"]) == {"secretKeyRef"}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert {word for word in CONTAINER["args"] if word.startswith("/")} == mounted


def test_the_clouds_task_has_its_storage_as_a_secret() -> None:
    assert SKY["secrets"] == {"MASKCLS_STORAGE": None}
    assert "/data" in SKY["file_mounts"]
    assert (ROOT / ".ci" / "constraints.txt").exists()
    assert ".ci/constraints.txt" in SKY["setup"]


def test_the_image_is_made_of_files_that_are_there_and_let_in() -> None:
    copied = [word for line in re.findall(r"^COPY (.*)", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    let_in = re.findall(r"^!(.*)", (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8"), re.MULTILINE)
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / name).exists() for name in copied)
    assert CONTAINER["image"] == re.findall(r"-t (\S+)", DOCKERFILE)[0]
    assert 'ENTRYPOINT ["python", "-m", "search.run"]' in DOCKERFILE


def fake(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(0o755)


def run(recipe: str, *words: str, path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    values: dict[str, Any] = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}", **environment}
    return subprocess.run(["bash", DEPLOY / recipe, *words], env=values, capture_output=True, text=True, timeout=60)


def test_by_ssh_every_host_joins_and_the_password_is_in_no_arguments(tmp_path: Path) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    fake(tmp_path / "bin", "ssh", f'echo "ssh $*" >> {log}; cd {home}; exec bash -c "$2"')
    home.mkdir()
    (home / "mask-search" / ".venv").mkdir(parents=True)
    fake(home / "mask-search" / ".venv" / "bin", "python", f'echo "$MASKCLS_STORAGE: $*" >> {log}')
    url = "postgresql+psycopg://team:pass word@box/studies"
    ended = run("ssh.sh", "my study", "one", "two", path=tmp_path / "bin", MASKCLS_STORAGE=url)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "one joins\ntwo joins\n"
    for _ in range(100):
        lines = log.read_text().splitlines()
        joined = [line for line in lines if line == f"{url}: -m search.run --study my study --join"]
        if len(joined) == 2:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert len(joined) == 2, lines
    asked = [line for line in lines if line.startswith("ssh ")]
    assert [line.split()[1] for line in asked] == ["one", "two"]
    assert not any("pass word" in line for line in lines if not line.startswith(url))
    assert run("ssh.sh", "s", "one", path=tmp_path / "bin", MASKCLS_STORAGE="").returncode != 0


@pytest.mark.parametrize(("status", "queued_again"), [(0, ""), (130, "requeue 77"), (1, ""), (2, "")])
def test_a_task_of_slurm_that_was_stopped_in_order_queues_itself_again(
    status: int, queued_again: str, tmp_path: Path
) -> None:
    fake(tmp_path / "bin", "srun", f'echo "$*" > {tmp_path}/ran; exit {status}')
    fake(tmp_path / "bin", "scontrol", f'echo "$*" > {tmp_path}/queued')
    ended = run("slurm.sh", path=tmp_path / "bin", STUDY="toy", SLURM_JOB_ID="77")
    assert ended.returncode == status
    assert (tmp_path / "ran").read_text() == "python -m search.run --study toy --join\n"
    queued = tmp_path / "queued"
    assert (queued.read_text().strip() if queued.exists() else "") == queued_again


def test_slurm_asks_two_minutes_before_the_end_and_queues_preempted_tasks_again() -> None:
    options = re.findall(r"^#SBATCH (\S+)", (DEPLOY / "slurm.sh").read_text("utf-8"), re.MULTILINE)
    assert {"--requeue", "--open-mode=append", "--signal=TERM@120"} <= set(options)
