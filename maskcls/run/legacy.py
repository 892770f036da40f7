"""Folders from before a run's record had stamps: history.json is a list, and resume.pt says what it is of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from maskcls.config import TrainConfig
from maskcls.run.checkpoint import load_state
from maskcls.run.record import PREDICTIONS, STATE, WEIGHTS, DamagedError, Record, stamp_of
from maskcls.run.result import Evaluation, Result
from maskcls.scoring.metrics import SAME, score
from maskcls.scoring.predictions import Predictions


def adopted(
    folder: Path, record: Record, config: TrainConfig, data: str, device: str, planned_evaluations: int
) -> Record:
    """The record with what newer ones have. ``data``: the dataset's hash.

    Raises DamagedError when the files are not all of one evaluation of this very run: its process was killed while it
    wrote them.
    """
    evaluations, files = record.evaluations, [WEIGHTS, PREDICTIONS]
    if (folder / STATE).exists():
        evaluations, files = _of_state(folder, config, data, device), [*files, STATE]
    elif len(evaluations) != planned_evaluations:
        raise DamagedError(f"its {STATE} is not there")
    best = Result(evaluations, planned_evaluations, config.keep).best
    _check_predictions(folder / PREDICTIONS, best, config.task)
    try:
        stamps = {name: stamp_of((folder / name).read_bytes(), best.step) for name in files}
    except FileNotFoundError:
        raise DamagedError(f"its {WEIGHTS} is not there") from None
    return replace(record, planned_evaluations=planned_evaluations, evaluations=evaluations, files=stamps)


def _of_state(folder: Path, config: TrainConfig, data: str, device: str) -> tuple[Evaluation, ...]:
    """The evaluations that the state goes on from; it was written last, so nothing else may be newer."""
    state: dict[str, Any] = load_state(folder / STATE)
    expected = {"config": config.model_dump_json(), "data": data, "device": device}
    if state.get("of") != expected or "history" not in state:
        raise DamagedError("it is of another config, dataset or device")
    newer = [name for name in (WEIGHTS, PREDICTIONS) if _changed(folder / name) > _changed(folder / STATE)]
    if newer:
        raise DamagedError(f"its {newer[0]} is of a later evaluation than its {STATE}")
    return tuple(map(Evaluation.from_dict, state["history"]))


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _check_predictions(path: Path, best: Evaluation, task: str) -> None:
    try:
        found = Predictions.load(path)
        value = score(found.log_prob_NK, found.label_N, task).macro_f1
    except Exception as error:  # numpy and zipfile each have their own
        raise DamagedError(f"its {PREDICTIONS} cannot be read") from error
    if abs(value - best.scores.macro_f1) > SAME:
        raise DamagedError(f"its {PREDICTIONS} is not of evaluation {best.step}")
