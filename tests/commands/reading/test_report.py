"""search.report: its numbers are those of the database and of scikit-learn, and what is missing says so."""

import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

import search.report
import search.run
import search.storage.predictions
from maskcls.scoring.intervals import Estimate
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from search.answer.answer import Confirmation, Finalist
from search.answer.format import signed_spread, spread
from search.database.connect import load_study, open_storage
from search.page.blocks import Gallery, Picture, Report, Table, Text
from search.page.build import make_report
from search.page.classes import Change
from search.page.commands import run_command_of
from search.page.dashboard import show_in_dashboard
from search.page.data import Material
from search.page.gallery import confident_mistakes, gallery_section, thumbnail
from search.page.render import to_html, to_markdown
from search.page.reweighting import prior_section
from search.storage.files import pictures_of, study_artifacts
from search.study.loading import known_studies, load_study_file
from search.study.record import Stored
from search.study.request import apply_options
from tests.helpers.report import Played, make_study, play_rounds
from tests.helpers.search import complain
from tests.helpers.training import run

IMPORTS = """
import sys
from maskcls.system.console import run_command
from search.report import main
sys.argv = ["report", *sys.argv[1:]]
try:
    run_command(main)
finally:
    print(sorted({"torch", "timm", "torchvision"} & sys.modules.keys()))
"""


class Page(HTMLParser):
    """The texts and tables of a page, by the heading above them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: dict[str, str] = {"": ""}
        self.tables: dict[str, list[list[list[str]]]] = {"": []}
        self.links: list[str] = []
        self.tags: set[str] = set()
        self._heading, self._inside = "", list[str]()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href") and value]
        if tag in ("h2", "td", "th", "style", "title"):
            self._inside.append(tag)
        if tag == "h2":
            self._heading = ""
        if tag == "table":
            self.tables[self._heading].append([])
        if tag == "tr":
            self.tables[self._heading][-1].append([])
        if tag in ("td", "th"):
            self.tables[self._heading][-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()
        if tag == "h2":
            self.text.setdefault(self._heading, "")
            self.tables.setdefault(self._heading, [])

    def handle_data(self, data: str) -> None:
        where = self._inside[-1] if self._inside else ""
        if where == "h2":
            self._heading += data
        elif where in ("td", "th"):
            self.tables[self._heading][-1][-1][-1] += data
        elif where == "":
            self.text[self._heading] += data

    def table(self, heading: str, number: int = 0) -> dict[str, dict[str, str]]:
        """First cell of a row -> title -> cell."""
        titles, *rows = self.tables[heading][number]
        return {row[0]: dict(zip(titles, row, strict=True)) for row in rows}


def value(text: str) -> float:
    """The first number of a cell."""
    return float(text.replace("−", "-").replace(",", "").split()[0])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    return make_study(tmp_path_factory.mktemp("report"), synthetic_folder)


@pytest.fixture(scope="module")
def report(played: Played) -> Report:
    return make_report(played.material())


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return to_html(report)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def stored_predictions(played: Played, trial: int) -> tuple[np.ndarray, np.ndarray]:
    found = Predictions.load(played.runs / "toy" / f"trial-{trial:04d}" / "valid.npz")
    return found.label_N, found.log_prob_NK.argmax(1)


def f1(played: Played, trial: int, **options: Any) -> Any:
    label_N, called_N = stored_predictions(played, trial)
    return f1_score(label_N, called_N, labels=range(18), zero_division=0, **options)


def test_the_best_and_the_baseline_are_as_in_the_database_and_in_scikit_learn(played: Played, page: Page) -> None:
    rows = page.table("Best recipe")
    trials = played.study.get_trials()
    assert played.study.best_trial.number == 1
    for role, number in (("best recipe", 1), ("baseline", 0)):
        assert rows[role]["trial"] == str(number)
        assert rows[role]["macro F1"] == f"{trials[number].value:.4f}" == f"{f1(played, number, average='macro'):.4f}"
        assert rows[role]["accuracy"] == f"{accuracy_score(*stored_predictions(played, number)):.4f}"
        for part in ("mask", "gender", "age"):
            assert rows[role][part] == f"{trials[number].user_attrs[f'f1_{part}']:.4f}"


def test_levels_are_the_means_of_their_runs_and_count_their_trials(played: Played, page: Page) -> None:
    rows = page.table("The search")
    trials = played.study.get_trials()
    without, with_ = rows["drop_rate = 0.0"], rows["drop_rate = 0.5"]
    assert value(without["macro F1 (95 % interval)"]) == round((trials[0].value + trials[10].value) / 2, 4)
    assert value(with_["macro F1 (95 % interval)"]) == round((trials[1].value + trials[9].value) / 2, 4)
    assert (without["complete"], without["pruned"], with_["complete"], with_["pruned"]) == ("5", "1", "4", "2")
    assert without["best configuration"] == "lr=0.01 (trials 0 and 10)"
    assert "they compare no levels" in page.text["The search"]


def test_every_class_is_as_in_scikit_learn(played: Played, page: Page) -> None:
    rows = page.table("Classes that got better or worse")
    before_K, after_K = f1(played, 0, average=None), f1(played, 1, average=None)
    label_N, _ = stored_predictions(played, 0)
    for index, name in enumerate(MASK_TASK.space.names):
        assert rows[name]["photos"] == str((label_N == index).sum())
        assert rows[name]["before"] == f"{before_K[index]:.4f}"
        assert rows[name]["after"] == f"{after_K[index]:.4f}"
        assert value(rows[name]["difference"]) == pytest.approx(after_K[index] - before_K[index], abs=6e-5)
    named = page.text["Classes that got better or worse"]
    better = [name for name, row in rows.items() if row["verdict"] == "▲ better"]
    assert better
    winner = played.material().answer.winner
    assert winner is not None
    assert f"is {winner.score.value:.4f} on them and {winner.expected:.4f} corrected for the choice." in named
    for name in better:
        assert f"{name} ({rows[name]['difference']})" in named.partition("Worse")[0]


def test_the_drawn_matrices_are_scikit_learn_s(played: Played) -> None:
    material = played.material()
    for side, trial in ((material.before, 0), (material.after, 1)):
        assert side is not None
        assert np.array_equal(side.confusion_KK, confusion_matrix(*stored_predictions(played, trial), labels=range(18)))


def test_rates_of_confusion_are_sums_of_the_matrix(played: Played, page: Page) -> None:
    before_KK, after_KK = (confusion_matrix(*stored_predictions(played, trial), labels=range(18)) for trial in (0, 1))
    worn = page.table("What gets confused with what")
    young, middle = np.array([0, 3]), np.array([1, 4])  # of all 18 classes, with the mask worn
    row = worn["30 to 59 taken for under 30"]
    for title, matrix_KK in (("wrong", after_KK), ("wrong before", before_KK)):
        by_age_KA = matrix_KK.reshape(18, 6, 3).sum(1)
        assert row[title] == str(by_age_KA[middle, 0].sum())
    assert row["photos"] == str(after_KK[middle].sum())
    assert worn["under 30 taken for 60 and over"]["photos"] == str(after_KK[young].sum())
    women = worn["women taken for men"]
    by_gender_KG = after_KK.reshape(18, 3, 2, 3).sum((1, 3))
    assert (women["wrong"], women["photos"]) == (str(by_gender_KG[3:6, 0].sum()), str(after_KK[3:6].sum()))


def test_cost_and_pruning_are_sums_over_the_database(played: Played, page: Page) -> None:
    facts = [trial.user_attrs for trial in played.study.get_trials() if "seconds" in trial.user_attrs]
    seconds = sum(found["seconds"] for found in facts)
    row = page.table("Cost")["cpu, 2 cores"]
    assert row["device hours"] == f"{seconds / 3600:.2f}"
    assert row["trials"] == str(len(facts)) == "13"
    made, planned = (sum(found[key] for found in facts) for key in ("evaluations", "evaluations_planned"))
    assert row["epochs"] == f"{made / 2:g}"
    assert f"saved {100 * (1 - made / planned):.1f}" in page.text["Learning curves and pruning"]
    assert "Pruning stopped 3 of 14 trials" in page.text["Learning curves and pruning"]
    stopped = page.table("Learning curves and pruning")
    cells = [stopped["2"][title] for title in ("trials", "evaluations saved", "trial numbers")]
    assert cells == ["2", "4", "2 and 11"]
    people = len({path.parent for path in (played.photos / "images").glob("*/*")})
    assert people == 60
    told = re.search(r"([\d,]+) training photos seen \((\d+) per epoch\)", page.text["Cost"])
    assert told is not None
    assert int(told[1].replace(",", "")) == round(made / 2 * int(told[2]))


def test_the_noise_is_that_of_the_repeated_runs(played: Played, page: Page) -> None:
    values = [[played.study.get_trials()[number].value for number in numbers] for numbers in ((0, 10), (1, 9))]
    pooled = np.sqrt(sum(np.var(pair, ddof=1) for pair in values) / 2)
    assert f"{pooled:.4f} from training seed to training seed" in page.text["Noise"]
    assert page.table("Noise")["drop_rate=0 lr=0.01"]["mean"] == f"{np.mean(values[0]):.4f}"


def test_importances_are_optuna_s(played: Played, html: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = optuna.importance.get_param_importances(played.study)
    told = ", ".join(f"{name} {share:.2f}" for name, share in expected.items())
    assert f"the sum is 1. {told}." in html


def test_the_page_needs_nothing_else_and_runs_nothing(page: Page) -> None:
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert page.tags & {"script", "iframe", "object", "embed"} == set()


def test_a_question_is_text_and_no_markup(report: Report) -> None:
    html = to_html(replace(report, question="Is <script>alert(1)</script> & co good?", study="a|b"))
    assert "script" not in Page(html).tags
    assert "Is &lt;script&gt;alert(1)&lt;/script&gt; &amp; co good?" in html


def test_ids_on_the_page_are_unique_and_drawings_refer_to_their_own(html: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert referred <= set(ids)


def test_the_markdown_twin_has_the_same_tables_and_sentences(report: Report, page: Page) -> None:
    text = to_markdown(report)
    lines = {line.strip("| ") for line in text.splitlines() if line.startswith("| ")}
    for tables in page.tables.values():
        for table in tables:
            for row in table:
                shown = " | ".join(cell.replace("−", "-").replace("\u00a0", " ") for cell in row)
                assert shown.strip("| ") in lines
    for heading in page.text:
        assert not heading or f"## {heading}\n" in text
    assert all(sentence in text for sentence in report.sentences)


def test_mistakes_are_the_most_confident_one_of_each_person(played: Played) -> None:
    side = played.material().after
    assert side is not None
    rows = confident_mistakes(side)
    found = side.predictions
    sure = found.log_prob_NK.max(1)
    assert len(rows) == len({found.person_N[row] for row in rows}) == 12
    assert (side.predicted_N[rows] != found.label_N[rows]).all()
    assert (np.diff(sure[rows]) <= 0).all()
    wrong_N = side.predicted_N != found.label_N
    assert all(sure[row] == sure[wrong_N & (found.person_N == found.person_N[row])].max() for row in rows)


def test_photos_are_small_and_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg", exif=exif)
    jpeg, problem = thumbnail(tmp_path / "a.jpg")
    (tmp_path / "small.jpg").write_bytes(jpeg or b"")
    assert Image.open(tmp_path / "small.jpg").size == (120, 160)
    assert problem == ""
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    assert thumbnail(tmp_path / "b.jpg")[0] is None
    assert "not shown" in thumbnail(tmp_path / "c.jpg")[1]


def test_photos_are_left_out_when_asked_or_when_they_are_gone(played: Played, tmp_path: Path) -> None:
    told, pictures = gallery(played.material(photos=False))
    assert "--no-photos" in told
    assert [picture.jpeg for picture in pictures] == [None] * 12
    away = replace(played, stored=replace(played.stored, data=str(tmp_path / "away")))
    told, pictures = gallery(away.material())
    assert f"there is no folder {tmp_path}/away here" in told
    assert [picture.jpeg for picture in pictures] == [None] * 12
    told, pictures = gallery(away.material(data=played.photos))
    assert "not shown" not in told
    assert all(picture.jpeg for picture in pictures)


def gallery(material: Material) -> tuple[str, tuple[Picture, ...]]:
    text, pictures = gallery_section(material).blocks
    assert isinstance(text, Text)
    assert isinstance(pictures, Gallery)
    return text.text, pictures.pictures


def test_another_prior_weighs_the_people_and_ranks_anew(played: Played, page: Page) -> None:
    assert "Under another prior" not in page.text
    texts, (levels, trials) = under(played.material(prior="male=0.9,old=0.6"))
    assert "male 90.0 %" in texts[0]
    assert "60 and over 60.0 %" in texts[0]
    assert levels.keys() == {"drop_rate = 0.0", "drop_rate = 0.5"}
    ranks = [int(row["rank under the prior"].split()[0]) for row in trials.values()]
    assert ranks == sorted(ranks)
    assert trials["trial 1"]["macro F1"] == f"{played.study.get_trials()[1].value:.4f}"
    assert any(row["macro F1"] != row["macro F1 under the prior"] for row in trials.values())


def test_the_sample_s_own_prior_changes_no_rank(played: Played) -> None:
    side = played.material().after
    assert side is not None
    _, first_P = np.unique(side.predictions.person_N, return_index=True)
    men = float((side.predictions.label_N[first_P] // 3 % 2 == 0).mean())
    texts, (_, trials) = under(played.material(prior=f"male={men!r}"))
    for row in trials.values():
        assert row["macro F1"] == row["macro F1 under the prior"]
        assert row["rank"] == row["rank under the prior"]
    assert " ".join(texts).count("no rank changes") == 2


def under(material: Material) -> tuple[list[str], list[dict[str, dict[str, str]]]]:
    """Texts and tables of the section on another prior."""
    section = prior_section(material)
    assert section is not None
    tables = [block for block in section.blocks if isinstance(block, Table)]
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    return texts, [{row[0]: dict(zip(table.titles, row, strict=True)) for row in table.rows} for table in tables]


def test_a_study_without_trials_says_what_is_missing(tmp_path: Path, synthetic_folder: Path) -> None:
    empty = make_study(tmp_path, synthetic_folder, trials=False)
    html = to_html(make_report(empty.material(prior="male=0.5")))
    assert html.count("No trial is complete yet.") >= 4
    assert "… no answer yet" in html
    page = Page(html)
    assert "No trial has finished yet." in page.text["Cost"]


def test_a_study_whose_predictions_are_gone_says_so(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    for path in (tmp_path / "toy").glob("*/valid.npz"):
        path.unlink()
    page = Page(to_html(make_report(played.material())))
    assert "The stored predictions of trial 0 (valid.npz) are not in" in page.text["Confusion matrices"]
    assert page.table("Cost")["cpu, 2 cores"]["trials"] == "13"


def test_the_best_trial_may_be_the_baseline_itself(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    best = tmp_path / "toy" / "trial-0001" / "valid.npz"
    for path in (tmp_path / "toy").glob("*/valid.npz"):  # what has no predictions is no candidate
        if path != best and path.parent.name != "trial-0000":
            path.unlink()
    best.unlink()
    page = Page(to_html(make_report(played.material())))
    assert "The best trial is the baseline itself." in page.text["Classes that got better or worse"]
    assert "wrong class" in page.text["What gets confused with what"]
    assert "Trial 0 is the only complete one with predictions." in page.text["Best recipe"]


def test_another_training_of_the_baseline_is_no_gain(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    for number in (1, 9):  # what has no predictions is no candidate; the best one left is the baseline's replicate
        (tmp_path / "toy" / f"trial-{number:04d}" / "valid.npz").unlink()
    page = Page(to_html(make_report(played.material())))
    told = "Trial 10 is the baseline's configuration with another training seed: any difference is chance."
    classes = "Classes that got better or worse"
    for heading in ("Best recipe", classes, "Confusion matrices", "What gets confused with what"):
        assert told in page.text[heading]
    assert "beyond noise" not in page.text[classes]
    assert "verdict" not in page.tables[classes][0][0]
    changes = page.text["What gets confused with what"].partition("before and after")[2]
    assert "beyond noise" not in changes
    assert "Wrong on" in changes


def test_intervals_stay_where_scores_can_be() -> None:
    wide = Estimate(-0.2, -1.07, 1.3, 0.4, 5.0, 2.0)
    assert spread(wide) == "0.0000 to 1.0000"
    assert signed_spread(wide) == "-1.0000 to +1.0000"


def test_where_all_people_agree_there_is_no_interval_and_no_verdict() -> None:
    alike = Estimate(1.0, 1.0, 1.0, 0.0, 5.0, 2.0)
    assert spread(alike) == signed_spread(alike) == "–"
    assert Change("a", 4, 0.0, 1.0, alike).verdict == "not distinguishable"


def test_a_study_of_one_part_of_the_label(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.storage.predictions, "SCORE_TOLERANCE", 1.0)  # stored values are those of all 18 classes
    played = make_study(tmp_path, synthetic_folder)
    asked = replace(played.stored.study, fixed={**played.stored.study.fixed, "task": "gender"})
    for path in (tmp_path / "toy").glob("*/valid.npz"):
        found = Predictions.load(path)
        prob_NK = np.exp(found.log_prob_NK).reshape(-1, 3, 2, 3).sum((1, 3))
        replace(found, label_N=found.label_N // 3 % 2, log_prob_NK=np.log(prob_NK)).save(path)
    gender = replace(played, stored=replace(played.stored, study=asked))
    page = Page(to_html(make_report(gender.material())))
    assert "predict gender alone" in page.text["What gets confused with what"]
    assert page.table("Classes that got better or worse").keys() == {"male", "female"}
    with pytest.raises(ValueError, match="--prior needs a study of all 18 classes"):
        make_report(gender.material(prior="male=0.5"))


def test_a_confirmation_is_a_table(played: Played) -> None:
    material = played.material()
    better = material.answer.factors[0].levels[1].against
    assert better is not None
    found = better.estimate
    finalists = (
        Finalist("baseline", {"drop_rate": 0.0}, (0,), (0.5, 0.52), None, level="reference"),
        Finalist(
            "drop_rate = 0.5", {"drop_rate": 0.5}, (1,), (0.7, 0.74), found, level="other", against_reference=found
        ),
        Finalist("trial 3", {"drop_rate": 0.5}, (3,), (), None, diverged=(2,)),
    )
    outcome = Confirmation("toy-confirm", finalists, 2, 5, 48, 1)
    answer = replace(material.answer, confirmation=outcome)
    html = to_html(make_report(replace(material, answer=answer)))
    page = Page(html)
    rows = page.table("Confirmation")
    assert rows["drop_rate = 0.5"]["mean macro F1 (range)"] == "0.7200 (0.7000 to 0.7400)"
    assert rows["drop_rate = 0.5"]["from reference level"].startswith(f"{found.value:+.4f} (")
    assert rows["baseline"]["verdict on level"] == "reference"
    assert rows["trial 3"]["verdict"] == "diverged in repeat 2"
    assert "48 people" in page.text["Confirmation"]
    assert "over training seeds as well where that is said" in html
    assert "search.confirm --study toy --top 2 --repeats 5" in page.text["How to reproduce it"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    """The study with five rounds that decide it."""
    asked = make_study(tmp_path_factory.mktemp("rounds"), synthetic_folder)
    play_rounds(asked, {0.0: 0.4, 0.5: 0.9}, 5)
    return asked


def test_rounds_lead_the_page_and_the_method_is_folded(asked: Played) -> None:
    answer = asked.material().answer
    html = to_html(make_report(asked.material()))
    page = Page(html)
    lead = page.tables[""][0]
    assert [row[0] for row in lead[1:]] == ["drop_rate = 0.0", "drop_rate = 0.5"]
    assert lead[2][-1] == "▲ better"
    assert lead[1][-1] == "reference"
    assert answer.verdict == "better"
    headings = re.findall(r"(<summary>)?<h2 [^>]*>([^<]*)<", html)
    folded = {title for fold, title in headings if fold}
    assert {"The rounds", "The search", "Noise", "Cost", "How to reproduce it"} <= folded
    assert "Best recipe" not in folded
    assert "Round 0 is the baseline&#39;s own setting; the means are of the later rounds." in html
    rounds = page.table("The rounds")
    assert rounds["0"]["setting"] == "lr=0.01"
    assert rounds["4"]["setting"] == "lr=0.01"
    assert rounds["0"]["judges"] == "24"
    values = {trial.number: trial.value for trial in asked.study.get_trials()}
    assert answer.rounds is not None
    assert rounds["2"]["drop_rate = 0.5"] == f"{values[answer.rounds.sides[1].trials[2]]:.4f}"


def test_the_best_recipe_is_compared_with_the_reference_of_its_round(asked: Played) -> None:
    material = asked.material()
    assert material.answer.rounds is not None
    reference, best = material.answer.rounds.sides
    assert material.pair is not None
    before, after = material.pair
    assert (before.trial.number, after.trial.number) == (reference.trials[-1], best.trials[-1])
    page = Page(to_html(make_report(asked.material(prior="male=0.5"))))
    told = f"From trial {before.trial.number} (drop_rate = 0.0) to trial {after.trial.number} (drop_rate = 0.5)"
    assert told in page.text["Classes that got better or worse"]
    rows = page.table("Best recipe")
    assert rows["drop_rate = 0.0"]["trial"] == str(before.trial.number)
    assert rows["best recipe"]["macro F1"] == f"{after.trial.value:.4f}"
    assert material.answer.winner is not None
    assert f"Expect {material.answer.winner.expected:.4f} of the recipe on other people" in page.text["Best recipe"]
    assert "Under another prior" in page.text


def test_the_dashboard_shows_what_the_rounds_say(asked: Played) -> None:
    written(asked)
    study = load_study(open_storage(f"sqlite:///{asked.runs}/studies.db", create=False), "toy")
    attributes = study._storage.get_study_system_attrs(study._study_id)
    note = "".join(str(found) for key, found in sorted(attributes.items()) if key.startswith("dashboard:note_str"))
    assert "Better: drop_rate = 0.5 scores" in note
    assert any(key.startswith("dashboard:plot_data:report-rounds") for key in attributes)


def written(played: Played, *words: str) -> None:
    assert run(search.report.main, "--study", "toy", "--runs", played.runs, *words) == 0


def test_the_command_writes_both_and_says_where(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(played, "-o", str(tmp_path / "out"), "--prior", "male=0.5")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == " ".join(played.material().answer.sentences)
    assert lines[1:] == [f"{tmp_path}/out/report.html", f"{tmp_path}/out/report.md"]
    linked = re.findall(r"\]\((\S+\.svg)\)", (tmp_path / "out" / "report.md").read_text())
    assert linked
    assert all((tmp_path / "out" / name).read_text().startswith("<svg") for name in linked)


def test_the_dashboard_has_the_note_the_figures_and_the_files_of_the_last_report_only(played: Played) -> None:
    for _ in range(2):
        written(played)
    study = load_study(open_storage(f"sqlite:///{played.runs}/studies.db", create=False), "toy")
    attributes = study._storage.get_study_system_attrs(study._study_id)
    files = [json.loads(found) for key, found in attributes.items() if key.startswith("artifacts:")]
    assert sorted(found["filename"] for found in files) == ["report.html", "report.md"]
    for found in files:
        kept = (played.runs / "artifacts" / found["artifact_id"]).read_bytes()
        assert kept == (played.runs / "toy" / "report" / found["filename"]).read_bytes()
    note = "".join(str(found) for key, found in sorted(attributes.items()) if key.startswith("dashboard:note_str"))
    assert played.material().answer.sentences[0] in note
    figures = {key.split(":")[2] for key in attributes if key.startswith("dashboard:plot_data:")}
    assert figures == {"report-levels", "report-curves", "report-classes"}


def test_a_report_deleted_in_the_dashboard_comes_back(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    file = tmp_path / "report.md"
    file.write_text("once")
    show_in_dashboard(played.material(), file)
    storage, number = played.study._storage, played.study._study_id
    for key in storage.get_study_system_attrs(number):
        if key.startswith("artifacts:"):
            storage.set_study_system_attr(number, key, json.dumps(None))
    show_in_dashboard(played.material(), file)
    (again,) = study_artifacts(played.study)
    assert pictures_of(played.study, tmp_path) == [tmp_path / "artifacts" / again]  # what search.delete removes


def test_the_same_study_gives_the_same_page(played: Played, html: str) -> None:
    again = to_html(make_report(played.material()))
    assert again.partition("<footer>")[0] == html.partition("<footer>")[0]


def test_what_cannot_be_is_one_line(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--runs", str(played.runs), "--study")
    main = search.report.main
    assert "No study named 'tyo'" in complain(monkeypatch, capsys, main, *words, "tyo")
    assert "--prior has no group 'men'" in complain(monkeypatch, capsys, main, *words, "toy", "--prior", "men=0.5")
    gone = str(tmp_path / "gone")
    assert f"There is no folder {gone}" in complain(monkeypatch, capsys, main, *words, "toy", "--data", gone)


def test_it_imports_no_torch(played: Played, tmp_path: Path) -> None:
    words = ["--study", "toy", "--runs", str(played.runs), "-o", str(tmp_path)]
    ended = subprocess.run([sys.executable, "-c", IMPORTS, *words], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", [name for name in known_studies() if not load_study_file(name).synthetic])
@pytest.mark.parametrize(
    ("data", "settings"),
    [(None, []), ("photos here", ["epochs=2", "image_size=64"]), ("synthetic", ["augment=", "epochs=3"])],
    ids=["preview", "data", "synthetic"],
)
def test_the_command_to_reproduce_asks_for_the_same_study(
    played: Played, name: str, data: str | None, settings: list[str]
) -> None:
    document = load_study_file(name)
    settings = [text for text in settings if text.partition("=")[0] not in document.scientific]
    arranged = apply_options(document, data is None, data, settings, 90)
    wanted = Stored(
        arranged, data or "synthetic", "", {}, "scratch" if data != "photos here" else "auto", "none", True, 3
    )
    stored = Stored.from_json(wanted.to_json())
    study = optuna.create_study(study_name=name + ("-preview" if data is None else ""))
    material = replace(played.material(), study=study, stored=stored)
    words = run_command_of(material).split()
    assert words[words.index("--study") + 1] == name
    assert ("--data" in words) == (data is not None)
    asked = [words[index + 1].strip("'") for index, word in enumerate(words) if word == "--set"]
    people = int(words[words.index("--people") + 1])
    again = apply_options(document, data is None, data, asked, people)
    assert replace(wanted, study=again).to_json() == wanted.to_json()
    for option in ("--seed 3", "--label-fixes none", "--skip-unreadable"):
        assert option in " ".join(words)
