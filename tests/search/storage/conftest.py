"""A stored study without a document, for what is only handed out and taken back."""

from typing import Any

import optuna
import pytest

from search.database.connect import create_study, load_study, open_storage


@pytest.fixture
def url(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def study(url: str) -> optuna.Study:
    storage = open_storage(url, create=True)
    create_study(storage, "s", {"question": "Does it?"})
    return load_study(storage, "s")
