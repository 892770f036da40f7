"""The study that a command of search.run asks for: a study file, photos, and values that differ from the file's."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from maskcls.config import make_config, parse_assignment
from maskcls.data.dataset import SYNTHETIC
from maskcls.system.errors import UserError
from maskcls.system.paths import absolute_if_path, expand_home
from search.study.loading import load_study_file
from search.study.names import checked_name
from search.study.record import Stored
from search.study.study import Study, pin, preview_of


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
        name = checked_name(self.name or Path(self.file).stem + ("-preview" if self.is_preview else ""))
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
