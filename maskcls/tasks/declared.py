"""The tasks that ship with the project, by their names, and how any task is stored."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskcls.system.errors import UserError, one_line
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Task

DECLARED = {task.name: task for task in (MASK_TASK,)}


def task_to_json(task: Task) -> dict[str, Any] | None:
    """What a record stores of a task: nothing of the mask task, for whose records there was no such field.

    Of another declared task, or another metric than its own: its name and the metric. Of any other: all of it.
    """
    if task == MASK_TASK:
        return None
    declared = DECLARED.get(task.name)
    if declared is not None and task == declared.judged_by(task.metric):
        return {"declared": task.name, "metric": task.metric}
    return task.to_json()


def task_from_json(values: Mapping[str, Any] | None) -> Task:
    """The inverse of task_to_json; None, as in every record from before there were tasks: the mask task.

    Raises KeyError, TypeError and UserError for other values.
    """
    if values is None:
        return MASK_TASK
    if "declared" in values:
        return DECLARED[values["declared"]].judged_by(values["metric"])
    return Task.from_json(values)


def task_of_origin(origin: Mapping[str, Any], path: Path) -> Task:
    """The task of a model, by the [origin] of its config file ``path``. Raises UserError for what is no task."""
    try:
        return task_from_json(origin.get("task"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The [origin.task] of {path} cannot be read ({type(error).__name__}: {one_line(error, 60)}): it was"
            " changed, or written by a later version. Export the config, or train the model, again."
        ) from None
