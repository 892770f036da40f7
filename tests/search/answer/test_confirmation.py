"""A confirmation's outcome in the database: the words of the first versions, which later ones must read and write."""

from pathlib import Path

from search.answer.answer import Confirmation, Finalist
from search.answer.confirmation import outcome_of, read_confirmation, store_confirmation
from search.database.connect import default_url, load_study, open_storage
from tests.helpers.confirmation import judged

ESTIMATE = {"value": 0.5, "low": 0.25, "high": 0.75, "error": 0.125, "freedom": 8.0, "critical": 2.0}
FINALIST = {
    "name": "drop_rate = 0.7",
    "values": {"drop_rate": 0.7, "augment": ["flip"]},
    "trials": [3, 5],
    "scores": [0.5, 0.75],
    "against": ESTIMATE,
    "level": "other",
    "against_reference": None,
    "diverged": [],
}
STORED = {"study": "toy-confirm", "finalists": [FINALIST], "repeats": 2, "planned": 5, "judges": 80, "winner": 0}


def test_an_outcome_is_stored_in_the_words_of_the_first_versions(tmp_path: Path) -> None:
    made, stored = judged(tmp_path, {"baseline": 0.3, "a": 0.6, "b": 0.9}, repeats=3, skip=((2, 1),))
    outcome = outcome_of(made, stored, tmp_path)
    assert outcome is not None
    search = load_study(open_storage(default_url(tmp_path), create=False), "toy")
    store_confirmation(search, outcome)
    written = search.user_attrs["confirmation"]
    assert written.keys() == STORED.keys()
    assert [finalist.keys() for finalist in written["finalists"]] == [FINALIST.keys()] * 3
    assert written["finalists"][2]["against"].keys() == ESTIMATE.keys()
    assert [finalist["diverged"] for finalist in written["finalists"]] == [[], [2], []]
    assert read_confirmation(search) == outcome
    store_confirmation(search, None)
    assert read_confirmation(search) is None


def test_a_stored_outcome_is_read_as_it_was(tmp_path: Path) -> None:
    judged(tmp_path, {"baseline": 0.3}, repeats=1)
    search = load_study(open_storage(default_url(tmp_path), create=False), "toy")
    search.set_user_attr("confirmation", STORED)
    found = read_confirmation(search)
    assert isinstance(found, Confirmation)
    (finalist,) = found.finalists
    assert isinstance(finalist, Finalist)
    assert (finalist.trials, finalist.scores, finalist.diverged) == ((3, 5), (0.5, 0.75), ())
    assert finalist.against is not None
    assert [finalist.against.value, finalist.against.low, finalist.against.high] == [0.5, 0.25, 0.75]
    store_confirmation(search, found)
    assert search.user_attrs["confirmation"] == STORED
