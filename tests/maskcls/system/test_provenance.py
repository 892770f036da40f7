"""The keys of [origin], which stored files have had in this order since before there was a class for them."""

from maskcls.system.provenance import Origin, commit, versions

SHARED = ["data", "split", "weights_option", "weights", "weights_commits", "revision", "commit", "versions"]


def trained(**more: object) -> Origin:
    weights = {"weights_option": "auto", "weights": {"source": "scratch"}, "weights_commits": {}, "revision": 2}
    return Origin(made_by="x", data="photos", split="hash", **weights, **more)  # type: ignore[arg-type]


def test_a_trial_names_its_study() -> None:
    origin = trained(study="toy", study_id="a1", trial=0).to_json()
    assert list(origin) == ["made_by", "study", "study_id", "trial", *SHARED]
    assert list(trained(study="toy", trial=0).to_json()) == ["made_by", "study", "trial", *SHARED]
    assert (origin["trial"], origin["weights_commits"]) == (0, {})


def test_a_training_outside_a_study_names_none() -> None:
    origin = trained().to_json()
    assert list(origin) == ["made_by", *SHARED]
    assert (origin["commit"], origin["versions"]) == (commit(), versions())


def test_a_trio_says_what_it_was_chosen_among() -> None:
    origin = Origin(made_by="x", data="photos", split="hash", value=0.5, corrected=0.4, chosen_among=8).to_json()
    keys = ["made_by", "data", "split", "value", "corrected", "chosen_among", "commit", "versions"]
    assert list(origin) == keys
