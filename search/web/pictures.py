"""The pictures of trials for the dashboard: from the folder of the artifacts, else from the database."""

import io
from pathlib import Path
from typing import BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from search.database.reconnecting import ReconnectingStorage
from search.files.table import read_picture


class PictureStore:
    """An artifact store as Optuna's dashboard uses it: a folder, which is read together with the database."""

    def __init__(self, artifacts: Path, storage: ReconnectingStorage) -> None:
        """``storage``: may have pictures of trials that ran on a machine with another folder."""
        self.folder, self.storage = FileSystemArtifactStore(artifacts), storage

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The artifact's content. Raises ArtifactNotFound."""
        try:
            return self.folder.open_reader(artifact_id)
        except ArtifactNotFound:
            content = read_picture(self.storage, artifact_id)
            if content is None:
                raise
            return io.BytesIO(content)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store an artifact that somebody uploads."""
        self.folder.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete an artifact from the folder. Raises ArtifactNotFound when it is not there."""
        self.folder.remove(artifact_id)
