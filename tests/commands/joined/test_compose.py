"""search.compose on toy predictions: the best trio by scikit-learn's F1, what is told of noise, what is refused."""

import hashlib
import itertools
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import create_trial
from sklearn.metrics import f1_score

import search.compose
import search.terminal.composition
from maskcls.model.composite import marginal_log_prob, read_models
from maskcls.scoring.counts import count
from search.answer.combinations import Compositions, find_candidates
from search.database.connect import create_study, default_url, open_storage
from search.study.attributes import STUDY_ID
from tests.helpers.predictions import LABEL, PERSON, SPACE, store, wrong
from tests.helpers.search import complain
from tests.helpers.training import run

SAID = {
    "mask": [wrong("mask", share, seed) for seed, share in enumerate((0.1, 0.05, 0.2))],
    "gender": [wrong("gender", share, 10 + seed) for seed, share in enumerate((0.1, 0.1))],
    "age": [wrong("age", share, 20 + seed) for seed, share in enumerate((0.3, 0.2, 0.2, 0.4))],
}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the correction; the tests need it roughly."""
    monkeypatch.setattr(search.terminal.composition, "MAX_LOOKS", 0)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three studies of a part, and none of all 18 classes."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for part, said in SAID.items():
        store(folder, f"{part}s", part, said)
    return folder


def words(runs: Path, **changed: str) -> list[str]:
    options = {"mask": "masks", "gender": "genders", "age": "ages", "out": f"{runs.parent}/best.toml", **changed}
    return [word for name, value in options.items() for word in (f"--{name}", value)] + ["--runs", str(runs)]


def compose(runs: Path, capsys: pytest.CaptureFixture[str], **changed: str) -> tuple[str, dict]:
    """What is printed, and what is written."""
    capsys.readouterr()
    status = run(search.compose.main, *words(runs, **changed))
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return printed.out, tomllib.loads((runs.parent / "best.toml").read_text())


def f1_of(trio: Sequence[int]) -> float:
    """By scikit-learn, on the composed labels."""
    parts = (SAID[part][number] for part, number in zip(SPACE.parts, trio, strict=True))
    predicted_N = SPACE.encode(*parts)
    every = range(SPACE.num_classes)
    return float(f1_score(LABEL, predicted_N, labels=every, average="macro", zero_division=0))


def test_the_trio_is_the_best_of_all_by_scikit_learns_f1(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = list(itertools.product(range(3), range(2), range(4)))
    best = max(every, key=f1_of)
    printed, written = compose(runs, capsys)
    assert [written["origin"][part]["trial"] for part in SPACE.parts] == list(best)
    assert written["origin"]["value"] == pytest.approx(f1_of(best), abs=1e-12)
    assert f"macro F1 {f1_of(best):.4f} (95 % interval" in printed
    assert "best of 24 trios (3 x 2 x 4), judged by 60 people, 420 photos (split 0123abcd)" in printed
    for part, number in zip(SPACE.parts, best, strict=True):
        f1 = f1_score(SPACE.part_of(LABEL, part), SAID[part][number], average="macro")
        assert f"trial {number} of {part}s: macro F1 of {part} {f1:.4f}" in printed
    assert written["origin"]["corrected"] < written["origin"]["value"]
    assert f"{written['origin']['corrected']:.4f} once corrected for being the best of 24" in printed


def test_among_equal_trios_the_earliest_trials_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    for part, said in SAID.items():
        store(runs, f"{part}s", part, [said[0], said[1], said[1]])
    _, written = compose(runs, capsys)
    assert all(written["origin"][part]["trial"] < 2 for part in SPACE.parts)


def test_the_fast_counts_are_those_of_counts_count(runs: Path) -> None:
    storage = open_storage(default_url(runs), create=False)
    trios = Compositions({part: find_candidates(storage, f"{part}s", part, runs) for part in SPACE.parts})
    assert np.array_equal(trios.label_N, LABEL)
    for index, trio in enumerate(itertools.product(*(SAID[part] for part in SPACE.parts))):
        ours, theirs = trios[index], count(PERSON, LABEL, SPACE.encode(*trio), SPACE)
        for name in ("person_P", "stratum_P", "true_PK", "predicted_PK", "true_positive_PK"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert len(list(trios)) == len(trios) == 24


def test_a_model_of_all_classes_answers_with_the_most_likely_part(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prob_K = np.zeros(18)
    prob_K[[0, 6, 9]] = 0.4, 0.3, 0.3  # the most likely class is worn, the most likely mask state incorrect
    log_prob_K = marginal_log_prob(np.log(prob_K[None] + 1e-9), SPACE, "all", "mask")[0]
    assert np.exp(log_prob_K) == pytest.approx([0.4, 0.6, 0], abs=1e-6)
    store(runs, "whole", "all", [LABEL])
    _, written = compose(runs, capsys, age="whole")
    assert written["origin"]["age"] == {"study": "whole", "trial": 0, "macro_f1": 1.0}
    assert written["compose"]["age"] == "best.parts/age-whole-trial-0000"


def test_a_trio_that_is_much_better_is_called_better(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(runs, "whole", "all", [wrong("all", 0.8, 1), wrong("all", 0.6, 2), wrong("all", 0.9, 3)])
    printed, written = compose(runs, capsys)
    single = next(line for line in printed.splitlines() if line.startswith("single"))
    assert "trial 1 of whole: macro F1" in single
    assert "best of 3" in single
    measured, fair = (
        [float(number) for number in re.findall(r"[-+]\d\.\d{3}", line)]
        for line in printed.splitlines()
        if line.endswith("as measured") or "once corrected: " in line
    )
    assert "once corrected: the trio is better" in printed
    assert written["origin"]["gain"]["verdict"] == "better"
    assert measured[0] == pytest.approx(written["origin"]["value"] - written["origin"]["single"]["macro_f1"], abs=6e-4)
    assert 0 < fair[1] < fair[0] <= measured[0]
    assert "would be found four times in five" in printed
    assert "the trio was chosen from 24 by the same people" in printed


def test_a_copy_is_no_further_single_model(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("whole", "whole-copy"):
        facts = [{"weights_digest": "a"}, {"weights_digest": "b"}]
        store(runs, name, "all", [wrong("all", 0.8, 1), wrong("all", 0.6, 2)], facts=facts)
    single = next(line for line in compose(runs, capsys)[0].splitlines() if line.startswith("single"))
    assert single.endswith("once corrected for being the best of 2")


def test_a_difference_within_noise_is_not_distinguishable(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [SPACE.encode(*(SAID[part][number] for part in SPACE.parts)) for number in (0, 1)]
    store(runs, "whole", "all", said)
    store(runs, "elsewhere", "all", [LABEL], split="ffff")
    store(runs, "confirmed", "all", [LABEL], confirmation={"of": "whole"})
    printed, written = compose(runs, capsys)
    assert "trial 1 of whole" in printed  # not the perfect ones that others judged
    assert "once corrected: not distinguishable" in printed
    printed, written = compose(runs, capsys, against="whole:0")
    assert written["origin"]["single"]["trial"] == 0
    assert written["origin"]["single"]["macro_f1"] == pytest.approx(f1_of((0, 0, 0)))


def test_without_a_single_model_it_says_how_to_make_one(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(runs, "elsewhere", "all", [LABEL], split="ffff")
    printed, written = compose(runs, capsys)
    assert "the gain is unknown. Make one: python -m search.run --study recipe" in printed
    assert "single" not in written["origin"]


@pytest.mark.parametrize("name", ["../odd", "n" * 300, "taken"])
def test_a_study_without_a_folder_of_its_own_is_in_nobodys_way(
    runs: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    store(runs, "whole", "all", [LABEL])
    store(runs, "other", "all", [LABEL])
    storage = open_storage(default_url(runs), create=False)
    attributes = storage.get_study_user_attrs(storage.get_study_id_from_name("other"))
    odd = create_study(storage, name, {**attributes, STUDY_ID: "feed"})
    odd.add_trial(create_trial(value=1.0, params={}, distributions={}))
    (runs / "taken").mkdir()
    (runs / "taken" / "study.json").write_text('{"id": "beef", "study": "taken", "storage": "elsewhere.db"}')
    printed, _ = compose(runs, capsys)
    assert "single    trial 0 of whole: macro F1" in printed


def test_behind_a_link_the_models_lie_beside_the_file_itself(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, link = tmp_path / "models", tmp_path / "link.toml"
    models.mkdir()
    link.symlink_to("models/target.toml")
    capsys.readouterr()
    assert run(search.compose.main, *words(runs, out=str(link))) == 0
    told = capsys.readouterr().out
    assert f"{models}/target.toml: the three models are in {models}/target.parts; keep both together" in told
    assert {path.name for path in models.iterdir()} == {"target.toml", "target.parts"}
    assert not (tmp_path / "link.parts").exists()
    for name in (link, models / "target.toml"):
        assert [member.part for member in read_models(name)] == list(SPACE.parts)
    assert run(search.compose.main, *words(runs, out=str(link))) == 0  # again, by the link
    assert len(list((models / "target.parts").iterdir())) == 3


def test_models_that_were_once_written_beside_the_link_are_found(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compose(runs, capsys)
    (tmp_path / "models").mkdir()
    (tmp_path / "best.toml").rename(tmp_path / "models" / "target.toml")
    (tmp_path / "best.toml").symlink_to("models/target.toml")
    assert [member.folder.parent for member in read_models(tmp_path / "best.toml")] == [tmp_path / "best.parts"] * 3


@pytest.mark.parametrize("leads_to", ["/dev/null", "/dev/stdout", "a pipe"])
def test_models_do_not_lie_beside_a_device(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], leads_to: str
) -> None:
    out = tmp_path / "out.toml"
    if leads_to == "a pipe":
        os.mkfifo(out)
    else:
        out.symlink_to(leads_to)
    told = complain(monkeypatch, capsys, search.compose.main, *words(runs, out=str(out)))
    assert f"{out} is a device or a pipe, and other files are to lie beside it; name a file by --out." in told


def test_a_better_trio_takes_the_place_of_the_old_one(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compose(runs, capsys)
    (runs.parent / "best.parts" / "mine.txt").write_text("mine")
    store(runs, "better", "mask", [SPACE.part_of(LABEL, "mask")])
    _, written = compose(runs, capsys, mask="better")
    assert written["compose"]["mask"] == "best.parts/mask-better-trial-0000"
    names = {path.name for path in (runs.parent / "best.parts").iterdir()}
    assert names == {*(value.split("/")[1] for value in written["compose"].values()), "mine.txt"}
    for folder in written["compose"].values():
        assert {path.name for path in (runs.parent / folder).iterdir()} == {
            "config.toml",
            "best.safetensors",
            "valid.npz",
        }


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those three studies, and others that cannot be joined with them."""
    runs = tmp_path_factory.mktemp("spoilt") / "runs"
    runs.mkdir()
    for part, said in SAID.items():
        store(runs, f"{part}s", part, said[:1])
    age = SAID["age"][:1]
    store(runs, "elsewhere", "age", age, split="ffff")
    store(runs, "confirmed", "age", age, confirmation={"of": "ages"})
    store(runs, "gone", "age", age)
    store(runs, "fewer", "age", age, photos=slice(7, None))
    store(runs, "empty", "age", [])
    store(runs, "whole", "all", [LABEL])
    store(runs, "other", "all", [LABEL], split="ffff")
    (runs / "gone" / "trial-0000" / "best.safetensors").unlink()
    return runs


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"mask": "maskes"}, "No study named 'maskes' is stored. Nearest: masks"),
        ({"mask": "genders"}, "--mask takes a study of mask or of the whole label; study 'genders' predicts gender."),
        ({"age": "elsewhere"}, "study 'masks' has split 0123abcd and 'elsewhere' ffff"),
        ({"age": "fewer"}, "trial 0 of masks (420 photos) and trial 0 of fewer (413 photos) differ"),
        ({"age": "gone"}, "No complete trial of study 'gone' has its weights"),
        ({"age": "empty"}, "Study 'empty' has no complete trial yet"),
        ({"age": "confirmed"}, "'confirmed' is the confirmation of study 'ages'"),
        ({"against": "ages:0"}, "--against takes a trial of the whole label; study 'ages' predicts only age."),
        ({"against": "whole"}, "--against takes STUDY:TRIAL, for example recipe:7, not 'whole'."),
        ({"against": "whole:7"}, "Trial 7 of study 'whole' has no predictions"),
        ({"against": "other:0"}, "study 'masks' has split 0123abcd and 'other' ffff"),
        ({"out": "best.yaml"}, "--out takes a TOML file, such as best.toml, not best.yaml."),
        ({"out": "absent/best.toml"}, "There is no folder absent to write best.toml into."),
    ],
)
def test_what_cannot_be_composed_is_one_line(
    spoilt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    hint: str,
) -> None:
    assert hint in complain(monkeypatch, capsys, search.compose.main, *words(spoilt, **changed))
    assert not (spoilt.parent / "best.toml").exists()
    assert not (spoilt.parent / "best.parts").exists()


def test_weights_that_a_trial_did_not_write_are_refused(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right, other = (hashlib.sha256(content).hexdigest() for content in (b"weights", b"other"))
    store(runs, "right", "age", SAID["age"][:1], digest=right)
    store(runs, "other", "age", SAID["age"][:1], digest=other)
    told = complain(monkeypatch, capsys, search.compose.main, *words(runs, age="other"))
    assert "best.safetensors is not the file that trial 0 of other wrote" in told
    assert run(search.compose.main, *words(runs, age="right")) == 0


def test_predictions_of_another_trial_are_no_candidates(runs: Path) -> None:
    first, second = (runs / "ages" / f"trial-000{number}" / "valid.npz" for number in (0, 1))
    first.write_bytes(second.read_bytes())
    storage = open_storage(default_url(runs), create=False)
    assert [one.trial.number for one in find_candidates(storage, "ages", "age", runs)] == [1, 2, 3]


def test_trainings_of_later_rounds_are_no_candidates(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Others judged them, and they were trained on some of the people who judge here."""
    perfect, later = SPACE.part_of(LABEL, "age"), {"round": 1, "judge_round": 1, "level": "off"}
    facts = [{"round": 0, "level": "off"}, {}, later]
    store(runs, "rounds", "age", [*SAID["age"][:2], perfect], facts=facts)
    store(runs, "whole", "all", [wrong("all", 0.5, 1), wrong("all", 0.5, 2), LABEL], facts=facts)
    _, written = compose(runs, capsys, age="rounds")
    assert written["origin"]["age"]["trial"] in (0, 1)
    assert written["origin"]["single"]["trial"] in (0, 1)
    assert written["origin"]["chosen_among"] == 3 * 2 * 2
    told = complain(monkeypatch, capsys, search.compose.main, *words(runs, age="rounds", against="whole:2"))
    assert "Trial 2 of study 'whole' was judged by other people, those of round 1" in told


def test_what_a_user_has_put_beside_the_models_stays(runs: Path) -> None:
    own = runs.parent / "best.parts" / "mask-own"
    own.mkdir(parents=True)
    (own / "precious").touch()
    assert run(search.compose.main, *words(runs)) == 0
    assert run(search.compose.main, *words(runs)) == 0
    assert (own / "precious").exists()
