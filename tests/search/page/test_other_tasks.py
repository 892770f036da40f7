"""Studies of other tasks than the mask's: what every command says of them, in their own words and numbers."""

import itertools
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

import search.compare
import search.compose
import search.export
import search.report
import search.status
from maskcls.labels import ALL, LabelSpace
from maskcls.model.composite import read_models
from maskcls.scoring.confusions import Confusion, most_frequent, rate_of
from maskcls.scoring.counts import count
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.task import ContextWords, Task
from search.answer.answer import Confirmation, Finalist
from search.answer.confirmation import Judges, TrainedFinalist
from search.database.connect import default_url, load_study, open_storage
from search.findings.confirmation import confirmed_sentences
from search.findings.evidence import answer_of
from search.page.blocks import Facts, Table, Text
from search.page.classes import part_changes
from search.page.confusions import CUT, MAX_ROWS, confusions_section, num_comparisons
from search.page.data import Material, ReportOptions
from search.policy.confirmation import PlannedFinalist
from search.terminal.summary import show_search_summary
from tests.helpers.other_task import LEAVES, LESIONS, labels_of, play_rounds, store_study
from tests.helpers.report import Played
from tests.helpers.search import complain
from tests.helpers.training import run

OF_THE_MASK = re.compile(r"people|person|macro F1|mean F1|best F1|\bmask|gender|\bage\b|18 classes|all 18")
"""Words that no text on another task may use; F1 alone is that of a class or a part."""

RIGHT = (0.5, 0.8, 0.7, 0.6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search and one with rounds of each task, and a study for every factor of the one that has several."""
    folder = tmp_path_factory.mktemp("other") / "runs"
    for task in (LESIONS, LEAVES):
        store_study(folder, task, name=task.name, right=RIGHT)
        play_rounds(store_study(folder, task, name=f"{task.name}-rounds", right=RIGHT[:2]), {0.0: 0.5, 0.5: 0.9})
    for part in LESIONS.space.parts:
        store_study(folder, LESIONS, name=part, part=part, right=(0.5, 0.8, 0.7))
    return folder


def stored(runs: Path, name: str) -> Played:
    """The study by its stored name, its document read from the database."""
    from search.study.record import read_stored

    study = load_study(open_storage(default_url(runs), create=False), name)
    return Played(study, read_stored(study), runs, Path("/photos"))


def predictions(runs: Path, name: str, trial: int) -> tuple[np.ndarray, np.ndarray]:
    found = Predictions.load(runs / name / f"trial-{trial:04d}" / "valid.npz")
    return found.label_N, found.log_prob_NK.argmax(1)


@pytest.mark.parametrize(
    ("name", "task"), [(f"{task.name}{rounds}", task) for task in (LESIONS, LEAVES) for rounds in ("", "-rounds")]
)
def test_every_text_is_in_the_words_of_the_task(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, task: Task
) -> None:
    where = ["--runs", str(runs)]
    assert run(search.report.main, "--study", name, "-o", str(tmp_path), *where) == 0
    assert run(search.status.main, "--study", name, *where) == 0
    assert run(search.export.main, "--study", name, "-o", str(tmp_path / "best.toml"), *where) == 0
    assert run(search.compare.main, f"{name}:0", f"{name}:1", *where) == 0
    played = stored(runs, name)
    show_search_summary(played.study, played.stored, runs, None)
    attributes = played.study._storage.get_study_system_attrs(played.study._study_id)
    assert attributes["study:metric_names"] == [task.metric_words]
    assert any("report-curves" in key for key in attributes)
    dashboard = json.dumps(attributes)  # the note and the figures
    printed = capsys.readouterr().out
    pages = [(tmp_path / page).read_text() for page in ("report.md", "report.html")]
    for text in (printed, dashboard, *pages):
        assert OF_THE_MASK.findall(re.sub(r"maskcls|people=0", "", text)) == []  # the package, a hyperparameter
        assert task.metric_words in text.lower()
    assert f"interval over {task.unit.many}" in pages[0]
    assert f"judged by the same 90 {task.unit.many}" in printed
    has_leak = ["photos of one subject may be on both sides" in page.lower() for page in pages]
    assert has_leak == [not task.has_groups] * 2
    if name.endswith("-rounds"):
        assert f"judged by 30 to 90 {task.unit.many} each" in pages[0]
        assert f"{task.unit.many} {'who' if task is LESIONS else 'that'} chose nothing" in pages[0]
        assert f"difference of {task.metric_words} from drop_rate = 0.0" in pages[0].lower()
        assert f"mean {task.metric_words}" in printed


def test_scores_are_of_the_task_s_metric(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for task, by_sklearn in ((LESIONS, accuracy_score), (LEAVES, balanced_accuracy_score)):
        values = [by_sklearn(*predictions(runs, task.name, trial)) for trial in range(len(RIGHT))]
        assert run(search.status.main, "--study", task.name, "--json", "--runs", str(runs)) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["metric"] == task.metric
        assert told["best"]["value"] == pytest.approx(max(values), abs=1e-12)
        winner = answer_of(stored(runs, task.name).study, stored(runs, task.name).stored, runs).winner
        assert winner is not None
        assert winner.score.value == pytest.approx(max(values), abs=1e-12)
        out = tmp_path / f"{task.name}.toml"
        assert run(search.export.main, "--study", f"{task.name}-rounds", "-o", str(out), "--runs", str(runs)) == 0
        assert f"expect {task.metric_words} 0." in capsys.readouterr().out
        assert [key for key in tomllib.loads(out.read_text())["origin"] if key.startswith("expected")] == [
            f"expected_{task.metric}"
        ]


def test_the_overview_names_the_metric_that_all_studies_share(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(search.status.main, "--runs", str(runs)) == 0
    assert "best score" in capsys.readouterr().out.splitlines()[0]
    store_study(tmp_path / "runs", LESIONS, right=RIGHT)
    assert run(search.status.main, "--runs", str(tmp_path / "runs")) == 0
    assert "best accuracy" in capsys.readouterr().out.splitlines()[0]


def material(runs: Path, name: str, task: Task | None = None) -> Material:
    played = stored(runs, name)
    document = replace(played.stored, task=task or played.stored.task)
    return Material(played.study, document, answer_of(played.study, document, runs), ReportOptions(runs))


def test_parts_change_by_the_study_s_metric(runs: Path) -> None:
    changes = part_changes(material(runs, "lesions"))
    before, after = (predictions(runs, "lesions", trial) for trial in (0, 1))
    assert [change.name for change in changes] == ["diagnosis", "stage", "side"]
    for change in changes:
        was, now = (
            accuracy_score(*(LESIONS.space.part_of(label_N, change.name) for label_N in pair))
            for pair in (before, after)
        )
        assert (change.before, change.after) == pytest.approx((was, now))
        assert change.estimate.value == pytest.approx(now - was)


def test_confusions_of_factors_are_told_pair_by_pair_and_compared_so_often(runs: Path) -> None:
    intro, facts, *tables = confusions_section(material(runs, "lesions")).blocks
    assert isinstance(intro, Text)
    assert isinstance(facts, Facts)
    terms = [term for term, _ in facts.items]
    assert terms == [
        *("overall", "diagnosis, 1st", "diagnosis, 2nd", "diagnosis, 3rd", "stage, 1st", "stage, 2nd", "stage, 3rd"),
        *("stage, 3 bands off", "side", "diagnosis, before and after", "stage, before and after"),
        "side, before and after",
    ]
    compared = [text for _, text in facts.items if "interval" in text or "distinguishable" in text or "Too few" in text]
    assert len(compared) == 10
    assert "all 10 comparisons hold at once" in intro.text
    label_N, said_N = predictions(runs, "lesions", 1)
    matrix_KK = confusion_matrix(*(LESIONS.space.part_of(each_N, "side") for each_N in (label_N, said_N)))
    table = tables[-1]
    assert isinstance(table, Table)
    assert table.caption == "Side"
    wrong = {row[0]: (row[1], row[2]) for row in table.rows}
    assert wrong["left taken for right"] == (str(matrix_KK[0].sum()), str(matrix_KK[0, 1]))
    assert wrong["right taken for left"] == (str(matrix_KK[1].sum()), str(matrix_KK[1, 0]))
    assert "patients affected" in table.titles


def test_of_many_confusions_the_most_frequent_are_shown_and_the_cut_is_said(tmp_path: Path) -> None:
    store_study(tmp_path / "runs", LEAVES, right=(0.1, 0.2))
    section = confusions_section(material(tmp_path / "runs", "other"))
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    label_N, said_N = predictions(tmp_path / "runs", "other", 1)
    mistakes_KK = confusion_matrix(label_N, said_N) * (1 - np.eye(12, dtype=int))
    assert (mistakes_KK > 0).sum() > MAX_ROWS
    assert [int(row[2]) for row in table.rows] == sorted(mistakes_KK.ravel().tolist(), reverse=True)[:MAX_ROWS]
    assert table.caption == f"Species{CUT}"
    assert "20 most frequent" in CUT
    assert not any("photos affected" in title for title in table.titles)
    (facts,) = (block for block in section.blocks if isinstance(block, Facts))
    overall = dict(facts.items)["overall"]
    assert (
        overall == f"Of 90 photos, {mistakes_KK.sum()} are in the wrong class ({100 * mistakes_KK.sum() / 90:.1f} %)."
    )


def test_the_most_frequent_confusions_are_those_with_the_highest_counts(runs: Path) -> None:
    found = Predictions.load(runs / "lesions" / "trial-0000" / "valid.npz")
    for part in LESIONS.space.parts:
        every = [
            Confusion(LESIONS.space, part, *pair)
            for pair in itertools.permutations(range(LESIONS.space.predicted(part).num_classes), 2)
        ]
        rates = {(way.true, way.predicted): rate_of(way, found) for way in every}
        expected = sorted((rate.wrong for rate in rates.values() if rate.wrong), reverse=True)[:4]
        most = most_frequent(LESIONS.space, part, found, 4)
        assert [rates[way.true, way.predicted].wrong for way in most] == expected


def test_a_context_breaks_the_other_factors_down_by_its_classes(runs: Path) -> None:
    task = replace(LESIONS, context="side")
    section = confusions_section(material(runs, "lesions", task))
    intro, facts, *tables = section.blocks
    assert isinstance(intro, Text)
    assert isinstance(facts, Facts)
    assert num_comparisons(task, task.space, {}) == 2 * 2 + 2 + 3
    assert "all 9 comparisons hold at once" in intro.text
    terms = [term for term, _ in facts.items]
    assert terms == [
        *("overall", "stage, side left", "stage, side right", "stage, 3 bands off", "diagnosis, side left"),
        *("diagnosis, side right", "stage by side", "diagnosis by side", "side", "diagnosis, before and after"),
        *("stage, before and after", "side, before and after"),
    ]
    assert " with side left and on " in dict(facts.items)["stage by side"]
    captions = [table.caption for table in tables if isinstance(table, Table)]
    assert captions == ["True side: left", "True side: right", "All photos"]
    words = ContextWords(("near", "far"), "near by", ("near the eye", "far from it"))
    _, facts, *_ = confusions_section(material(runs, "lesions", replace(task, context_words=words))).blocks
    assert isinstance(facts, Facts)
    assert " near the eye and on " in dict(facts.items)["stage near by"]


def test_a_confirmation_compares_and_speaks_as_the_task_does() -> None:
    path_N, person_N, label_N = labels_of(LEAVES)
    rng = np.random.default_rng(0)
    said = [[np.where(rng.random(len(label_N)) < share, label_N, 0) for _ in range(2)] for share in (0.5, 0.8)]
    planned = [PlannedFinalist(name, {}, (), "") for name in ("baseline", "trial 1")]
    finalists = [TrainedFinalist(each, {}, ()) for each in planned]
    counts = [
        [count(person_N, label_N, said_N, LEAVES.space, metric="accuracy") for said_N in runs_R] for runs_R in said
    ]
    judges = Judges(dict(zip(finalists, counts, strict=True)))
    difference = judges.differences(finalists, finalists[0])[finalists[1]]
    right = [[accuracy_score(label_N, said_N) for said_N in runs_R] for runs_R in said]
    assert difference.value == pytest.approx(np.mean(right[1]) - np.mean(right[0]))
    told = tuple(
        Finalist(each.name, {}, (), tuple(scores), difference if scores is right[1] else None)
        for each, scores in zip(planned, right, strict=True)
    )
    outcome = Confirmation("c", told, 2, 2, len(path_N), 1)
    assert (
        "The interval covers photos, training seeds: 90 photos judged, none of which had chosen"
        in (confirmed_sentences(outcome, LEAVES.unit)[1])
    )
    assert "90 patients judged, none of whom had chosen" in confirmed_sentences(outcome, LESIONS.unit)[1]


# --- search.compose ---------------------------------------------------------------------------------------------------


def compose(runs: Path, out: Path, *words: str) -> int:
    return run(search.compose.main, *words, "-o", str(out), "--runs", str(runs))


TRIO = ("--part", "side=side", "--part", "diagnosis=diagnosis", "--part", "stage=lesions")


def test_the_composition_is_the_best_of_all_by_the_metric(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compose(runs, tmp_path / "best.toml", *TRIO) == 0
    printed, written = capsys.readouterr().out, tomllib.loads((tmp_path / "best.toml").read_text())
    _, _, label_N = labels_of(LESIONS)
    said = {name: [predictions(runs, name, trial)[1] for trial in range(3)] for name in ("diagnosis", "side")}
    joint = [Predictions.load(runs / "lesions" / f"trial-{trial:04d}" / "valid.npz") for trial in range(4)]
    stages = [np.exp(each.log_prob_NK).reshape(-1, 3, 4, 2).sum((1, 3)).argmax(1) for each in joint]
    every = itertools.product(said["diagnosis"], stages, said["side"])
    best = max(accuracy_score(label_N, LESIONS.space.encode(*each)) for each in every)
    assert written["origin"]["value"] == pytest.approx(best, abs=1e-12)
    assert list(written["compose"]) == ["diagnosis", "stage", "side"]  # the label's order, not that typed
    assert set(written["origin"]["side"]) == {"study", "trial", "accuracy"}
    assert "The best of 36 trios (3 x 4 x 3), judged by 90 patients, 360 photos" in printed
    assert f"all 24    accuracy {best:.4f}" in printed
    assert "by the same patients who judge it here" in printed
    assert "the three models are in" in printed
    assert OF_THE_MASK.findall(printed.replace("maskcls", "")) == []


@pytest.mark.parametrize(("num_factors", "kind", "number"), [(2, "pair", "two"), (4, "composition", "4")])
def test_a_composition_of_other_sizes_has_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], num_factors: int, kind: str, number: str
) -> None:
    diagnosis, stage, side = LESIONS.space.factors
    factors = (diagnosis, stage, side, replace(side, name="../eye"))[:num_factors]
    task = replace(LESIONS, space=LabelSpace(factors), metric="macro_f1")
    for factor in factors:
        store_study(tmp_path / "runs", task, name=factor.name.strip("./"), part=factor.name, right=(0.7, 0.8))
    words = [word for factor in factors for word in ("--part", f"{factor.name}={factor.name.strip('./')}")]
    assert compose(tmp_path / "runs", tmp_path / "best.toml", *words) == 0
    printed = capsys.readouterr().out
    assert f"The best of {2**num_factors} {kind}s (" in printed
    assert f"the {number} models are in" in printed
    assert f"the {kind} was chosen" not in printed  # no single model is stored
    assert f"no complete trial of all {task.space.num_classes} classes" in printed
    folders = tomllib.loads((tmp_path / "best.toml").read_text())["compose"].values()
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "best.toml", "best.parts"}
    assert all((tmp_path / folder).parent == tmp_path / "best.parts" for folder in folders)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--part", "stage=stage", "--part", "side=leaves"), "Models of different tasks cannot be composed"),
        (("--part", "species=leaves"), "a label with one factor"),
        (("--mask", "stage"), "--mask names no factor of the label. There are: diagnosis, stage, side."),
        (("--part", "stages=stage"), "--part stages names no factor of the label. Nearest: stage."),
        (
            ("--part", "stage=stage"),
            "No study for diagnosis and side; give one for each factor: --part diagnosis=STUDY",
        ),
        ((*TRIO, "--part", "side=lesions"), "--part side and --part side name one factor"),
        ((*TRIO[:4], "--part", "stage=side"), "--part stage takes a study of stage or of the whole label"),
        ((*TRIO, "--against", "leaves:0"), "study 'side' tells"),
        (("--part", "stage"), "--part takes FACTOR=STUDY"),
        ((), "Name a stored study for every factor of the label"),
    ],
)
def test_what_cannot_be_composed_is_one_sentence(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    out = ["-o", str(runs.parent / "never.toml"), "--runs", str(runs)]
    assert told in complain(monkeypatch, capsys, search.compose.main, *words, *out).replace("'diagnosis'", "'side'")
    assert not (runs.parent / "never.toml").exists()


def test_models_judged_by_other_metrics_are_neither_composed_nor_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(LESIONS, metric="balanced_accuracy")
    for name, part, task in (("a", "diagnosis", LESIONS), ("b", "stage", LESIONS), ("c", "side", other)):
        store_study(tmp_path / "runs", task, name=name, part=part, right=(0.7,))
    words = ["--part", "diagnosis=a", "--part", "stage=b", "--part", "side=c", "-o", str(tmp_path / "best.toml")]
    told = complain(monkeypatch, capsys, search.compose.main, *words, "--runs", str(tmp_path / "runs"))
    assert "Study 'a' is judged by accuracy and study 'c' by balanced accuracy" in told
    store_study(tmp_path / "runs", LESIONS, name="ours", right=(0.7,))
    store_study(tmp_path / "runs", other, name="theirs", right=(0.8,))
    told = complain(monkeypatch, capsys, search.compare.main, "ours:0", "theirs:0", "--runs", str(tmp_path / "runs"))
    assert "A is judged by accuracy and B by balanced accuracy; compare alike ones." in told


def test_the_composed_models_are_found_again(runs: Path, tmp_path: Path) -> None:
    assert compose(runs, tmp_path / "best.toml", *TRIO) == 0
    assert [model.part for model in read_models(tmp_path / "best.toml")] == ["diagnosis", "stage", "side"]


# --- --prior ----------------------------------------------------------------------------------------------------------


def test_a_prior_weighs_the_groups_of_any_task(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--study", "lesions", "-o", str(tmp_path), "--prior", "IV=0.4,left=0.7", "--runs", str(runs)]
    assert run(search.report.main, *words) == 0
    page = (tmp_path / "report.md").read_text()
    assert "The validation patients are weighted to match the given prior (IV = 0.4, left = 0.7):" in page
    assert "IV 40.0 % (here 24.4 %), left 70.0 % (here " in page
    assert "accuracy under the prior" in page
    assert run(search.compare.main, "lesions:0", "lesions:1", "--prior", "IV=0.4", "--runs", str(runs)) == 0
    assert "With IV=0.4: A 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "prior", "told"),
    [
        ("leaves", "species 1=0.2", "same for all photos of a group, which this task does not have"),
        ("lesions", "benign=0.2", "There are: I, II, III, IV, left, right."),
        ("stage", "I=0.2", "--prior needs stage and side of the patients, which a model of stage does not know."),
        ("lesions", "I", "Example: --prior I=0.6,right=0.25."),
    ],
)
def test_a_prior_that_says_nothing_here_is_one_sentence(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, prior: str, told: str
) -> None:
    words = [f"{name}:0", f"{name}:1", "--prior", prior, "--runs", str(runs)]
    assert told in complain(monkeypatch, capsys, search.compare.main, *words)


def test_a_study_of_one_part_has_no_sentences_on_parts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stored(runs, "stage").stored.task.predicted(stored(runs, "stage").stored.baseline_config).parts == ()
    assert run(search.compare.main, "stage:0", "stage:1", "--runs", str(runs)) == 0
    assert "By part" not in capsys.readouterr().out
    facts = next(block for block in confusions_section(material(runs, "stage")).blocks if isinstance(block, Facts))
    assert [term for term, _ in facts.items] == [
        *("overall", "stage, 1st", "stage, 2nd", "stage, 3rd", "stage, 3 bands off", "stage, before and after"),
    ]
    assert material(runs, "stage").space.predicted(ALL).num_classes == 4
