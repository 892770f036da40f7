"""Whether what a study's work goes into is still there: its database, the study in it, and its folder."""

from pathlib import Path

import optuna

from search.database.connect import backend_of
from search.storage.folder import ID, owners, read_marker
from search.storage.presence import Place


class Ground:
    """A study's database and folder as they were when the work began.

    An SQLite file that was removed, moved or replaced can be written to on and on by who has it open, and all of that
    is lost.
    """

    def __init__(self, study: optuna.Study, home: Path) -> None:
        self.study = study
        self.place = Place(backend_of(study).url, home)
        self.place.what_is_gone()  # nothing yet: it takes hold of what is there
        self.id = study.user_attrs.get(ID)

    def lost(self) -> str:
        """What is gone, in a sentence without its point; nothing while all is there."""
        gone = self.place.what_is_gone()
        if gone:
            return f"{gone} while the study ran"
        marker = read_marker(self.place.folder)
        # one that cannot be read says nothing: a network disk fails for a moment, and the folder is held as it was
        if self.id is not None and (marker is None or marker.id not in ("", self.id)):
            return f"the study's folder {self.place.folder} was removed or moved while the study ran"
        return ""

    def why_failed(self) -> str:
        """The same, once something has failed: then the study itself may be gone too."""
        lost = self.lost()
        if lost:
            return lost
        storage = backend_of(self.study)
        patience, storage.patience = storage.patience, 0  # whatever failed may have waited for the database itself
        try:
            return self._not_stored()
        except Exception:  # a database that cannot be asked is another matter
            return ""
        finally:
            storage.patience = patience

    def _not_stored(self) -> str:
        storage = backend_of(self.study)
        if any(found._study_id == self.study._study_id for found in storage.get_all_studies()):
            return ""
        for name in owners(self.id, storage) if self.id is not None else ():
            return f"the study was renamed to {name!r} while it ran; the same command with --name {name} goes on"
        return "the study was deleted while it ran"
