"""The study that a command of search.run asks for: a study file, photos, and values that differ from the file's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from maskcls.config import make_config, parse_assignment
from maskcls.data.dataset import SYNTHETIC, find_task
from maskcls.reading.hf import PREFIX
from maskcls.reading.source import DRAWN, FOLDERS, NO_TABLE, SourceOptions
from maskcls.system.errors import UserError, listed
from maskcls.system.paths import absolute_if_path, expand_home
from maskcls.tasks.declared import DECLARED
from maskcls.tasks.task import Task
from search.study.loading import PREVIEW, load_study_file
from search.study.names import checked_name
from search.study.record import Stored
from search.study.study import Study, pin, preview_of
from search.system.shell import quoted


@dataclass(frozen=True)
class StudyRequest:
    """The options of search.run that determine the study."""

    file: str
    """--study: the name of a study in studies/, or a path."""
    name: str | None = None
    """--name; None: the file's name."""
    data: str | None = None
    """--data: a folder, or "synthetic"; None or empty: not given."""
    weights: str | None = None
    """--weights; None: scratch for synthetic photos, else auto."""
    label_fixes: str = "auto"
    skip_unreadable: bool = False
    seed: int = 0
    assignments: Sequence[str] = ()
    """KEY=VALUE of each --set."""
    people: int | None = None
    """--people; None: all."""
    photos: SourceOptions = field(default_factory=SourceOptions)
    """--table, --path, --label, --group, --split, --metric."""
    copy_of: str | None = None
    """--from: the stored study to begin as a copy of."""

    @cached_property
    def document(self) -> Study:
        """The study of the file. Raises UserError if it cannot be loaded."""
        return load_study_file(self.file)

    @property
    def source(self) -> str | None:
        """The folder of the photos, or "synthetic"; None if neither --data nor the environment names one.

        A study of synthetic photos ignores the environment: only an explicit --data overrules it.
        """
        if not self.data:  # MASKCLS_DATA= in the environment means none
            return None
        return None if self.document.synthetic and self.is_from_environment else self.data

    @property
    def is_from_environment(self) -> bool:
        """Whether the environment names the photos, as far as one can tell."""
        return self.data == expand_home(os.environ.get("MASKCLS_DATA", ""))

    @property
    def is_preview(self) -> bool:
        """Whether the study needs photos and has none, so that its preview runs on synthetic ones."""
        return self.source is None and not self.document.synthetic

    @property
    def stored_name(self) -> str:
        """The name to store the study under. Raises UserError for an invalid name, and for a copy without --name."""
        name = checked_name(self.name or Path(self.file).stem + (PREVIEW if self.is_preview else ""))
        if self.copy_of is not None and self.name is None:
            raise UserError("--from copies a study under a new name; give it by --name.")
        return name

    def to_stored(self) -> Stored:
        """The study to create or to continue; its split and weights are not known yet.

        Raises UserError for a --set or --seed that is not allowed.
        """
        study = apply_options(self.document, self.is_preview, self.source, self.assignments, self.people)
        make_config({"seed": self.seed})
        data = absolute_if_path(self.source or SYNTHETIC)
        weights = absolute_if_path(self.weights or ("scratch" if data == SYNTHETIC else "auto"))
        return Stored(study, data, "", {}, weights, absolute_if_path(self.label_fixes), self.skip_unreadable, self.seed)

    def fit_to_photos(self, stored: Stored, folder: Path, options: SourceOptions) -> Stored:
        """The study to create or to continue, with the task of the photos in the folder that --data means.

        ``options``: how to read them. Raises UserError for photos of no task or of several, and for a study that
        compares what means nothing in it.
        """
        if stored.data == SYNTHETIC and options.typed:
            raise UserError(f"{listed(list(options.typed))} read a table under --data; the synthetic photos have none.")
        task = find_task(folder, options)
        study = fit_to(stored.study, task)
        task.check(make_config({**study.fixed, **study.baseline}))
        return replace(stored, study=study, task=task)


def typed_again(request: StudyRequest) -> str:
    """What to type after --data for the study that a preview stands for: all that was typed but --data and --name."""
    photos = request.photos
    words = [f"{option} {quoted(value)}" for option, value in photos.typed.items() if option != "--label"]
    words += [f"--label {quoted(label)}" for label in photos.labels]
    words += [f"--metric {quoted(photos.metric)}"] if photos.metric else []
    words += [f"--weights {quoted(request.weights)}"] if request.weights else []
    words += [f"--set {quoted(assignment)}" for assignment in request.assignments]
    words += [f"--people {request.people}"] if request.people is not None else []
    words += [f"--seed {request.seed}"] if request.seed else []
    words += [photo_options(request.label_fixes, request.skip_unreadable).strip()]
    return "".join(f" {word}" for word in words if word)


def photo_options(label_fixes: str, skip_unreadable: bool) -> str:
    """--label-fixes and --skip-unreadable, each with a space before it; empty for the defaults."""
    fixes = f" --label-fixes {quoted(label_fixes)}" if label_fixes != "auto" else ""
    return fixes + (" --skip-unreadable" if skip_unreadable else "")


def limits_options(limits: Mapping[str, float | None]) -> str:
    """The limits of a command as options, --n-trials first, each with a space before it."""
    options = {"--n-trials": "n_trials", "--max-epochs": "max_epochs", "--patience": "patience"}
    given = {option: limits.get(name) for option, name in options.items()}
    return "".join(f" {option} {_number(value)}" for option, value in given.items() if value is not None)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def apply_options(
    study: Study, is_preview: bool, data: str | None, assignments: Sequence[str], people: int | None
) -> Study:
    """The study of a file as a command asks for it. Raises UserError for a --set that is not allowed."""
    if is_preview:
        study = preview_of(study)
    elif data is not None:
        study = replace(study, synthetic=data == SYNTHETIC)
    values = dict(parse_assignment(text) for text in assignments)
    if people is not None:
        values["people"] = people
    return pin(study, values)


def fit_to(study: Study, task: Task) -> Study:
    """The study without searching what means nothing in this task. Raises UserError if that is what it compares."""
    for name in task.meaningless.keys() & study.scientific.keys():
        raise UserError(f"This study compares {name}, which means nothing for these photos. Choose another --study.")
    return pin(study, {name: value for name, value in task.meaningless.items() if name in study.nuisance})


def options_of(stored: Stored) -> str:
    """What to type after --data for the photos to be read as they were, with a space before it; empty for most."""
    task, source = stored.task, stored.task.source
    default = DECLARED.get(task.name)
    is_own = stored.data.startswith(PREFIX)  # hf:DIR has a table of its own
    words = [f"--table {quoted(source.table)}"] if source.table and not is_own else []
    words += [f"--path {quoted(source.path)}"] if source.path else []
    words += [f"--table {NO_TABLE}"] if source.reader == FOLDERS.reader else []  # a table may lie beside them
    words += [f"--label {quoted(label)}" for label in source.labels]
    words += [f"--group {quoted(source.group)}"] if source.group else []
    if source.split or source.reader == "table":  # a table may have a column of that name
        words.append(f"--split {quoted(source.split or DRAWN)}")
    if task.metric != (default.metric if default is not None else Task.metric):
        words.append(f"--metric {task.metric}")
    return "".join(f" {word}" for word in words)
