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


def task_of_origin(origin: Mapping[str, Any], config_file: Path) -> Task:
    """The task in the ``[origin]`` table of a config file. Raises UserError for one that this version cannot read."""
    try:
        return task_from_json(origin.get("task"))
    except Exception as error:  # a table that was changed by hand may raise anything
        raise UserError(
            f"{config_file}: [origin.task] is no task that this version can read ({type(error).__name__}:"
            f" {one_line(error)}). Update this installation, or export the config again."
        ) from None
