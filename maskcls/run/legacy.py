"""Folders from before a run's record had stamps: history.json is a list, and resume.pt says what it is of."""

from dataclasses import replace
from pathlib import Path

from maskcls.config import TrainConfig
from maskcls.run.checkpoint import read_state_file
from maskcls.run.record import PREDICTIONS, STATE, WEIGHTS, Record, UnusableRunError, stamp_of
from maskcls.run.result import Evaluation, Result
from maskcls.scoring.metrics import SCORE_TOLERANCE, score
from maskcls.scoring.predictions import Predictions


def upgrade_record(
    folder: Path, record: Record, config: TrainConfig, data: str, device: str, planned_evaluations: int
) -> Record:
    """A legacy record with the stamps of its files, as newer ones have them. ``data``: the dataset's hash.

    Raises UnusableRunError when the files are not all of one evaluation of this very run: its process was killed while
    it wrote them.
    """
    evaluations, files = record.evaluations, [WEIGHTS, PREDICTIONS]
    if (folder / STATE).exists():
        evaluations, files = _evaluations_of_state(folder, config, data, device), [*files, STATE]
    elif len(evaluations) != planned_evaluations:
        raise UnusableRunError(f"its {STATE} is not there")
    best = Result(evaluations, planned_evaluations, config.keep).best
    _check_predictions(folder / PREDICTIONS, best, config.task)
    try:
        stamps = {name: stamp_of((folder / name).read_bytes(), best.step) for name in files}
    except FileNotFoundError:
        raise UnusableRunError(f"its {WEIGHTS} is not there") from None
    return replace(record, planned_evaluations=planned_evaluations, evaluations=evaluations, files=stamps)


def _evaluations_of_state(folder: Path, config: TrainConfig, data: str, device: str) -> tuple[Evaluation, ...]:
    """The evaluations that the state goes on from; it was written last, so nothing else may be newer."""
    state = read_state_file(folder / STATE)
    expected = {"config": config.model_dump_json(), "data": data, "device": device}
    if state.get("of") != expected or "history" not in state:
        raise UnusableRunError("it is of another config, dataset or device")
    newer = [name for name in (WEIGHTS, PREDICTIONS) if _modified_ns(folder / name) > _modified_ns(folder / STATE)]
    if newer:
        raise UnusableRunError(f"its {newer[0]} is of a later evaluation than its {STATE}")
    return tuple(map(Evaluation.from_dict, state["history"]))


def _modified_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _check_predictions(path: Path, best: Evaluation, task: str) -> None:
    """Raise UnusableRunError unless the stored predictions have the best evaluation's score."""
    try:
        predictions = Predictions.load(path)
        value = score(predictions.log_prob_NK, predictions.label_N, task).macro_f1
    except Exception as error:  # numpy and zipfile each have their own
        raise UnusableRunError(f"its {PREDICTIONS} cannot be read") from error
    if abs(value - best.scores.macro_f1) > SCORE_TOLERANCE:
        raise UnusableRunError(f"its {PREDICTIONS} is not of evaluation {best.step}")
