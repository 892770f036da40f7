"""Whatever a user of search.run can get wrong: one line on stderr, exit status 2, and nothing left behind."""

from pathlib import Path

import optuna
import pytest

import search.run
from tests.helpers.one_process import work_in_this_process
from tests.helpers.search import MINE, complain
from tests.helpers.training import SIX_CELLS, make_folder

DATA = ("--data", "{data}")


@pytest.fixture
def places(tmp_path: Path, synthetic_folder: Path) -> dict[str, str]:
    """Files and folders that the bad commands name."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("STUDY = Study(")
    (tmp_path / "seeded.py").write_text(MINE.replace('"epochs": 2', '"epochs": 2, "seed": 1'))
    (tmp_path / "file").write_text("no folder, no database, no CSV with columns\n" * 30)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty_images" / "images").mkdir(parents=True)
    make_folder(tmp_path / "no_photos", files=["notes.txt"])
    make_folder(tmp_path / "one_person", people=SIX_CELLS[:1])
    make_folder(tmp_path / "few_classes", people=[f"{i:06d}_male_Asian_20" for i in range(9)])
    make_folder(tmp_path / "strange", people=["somebody", *SIX_CELLS])
    make_folder(tmp_path / "disagrees")
    (tmp_path / "disagrees" / "train.csv").write_text("id,gender,race,age,path\n1,male,Asian,20,nobody\n")
    (tmp_path / "empty_weights").mkdir()
    (tmp_path / "broken_weights").mkdir()
    (tmp_path / "broken_weights" / "test_efficientnet.safetensors").write_bytes(b"not weights")
    return {"tmp": str(tmp_path), "mine": str(tmp_path / "mine.py"), "data": str(synthetic_folder)}


MISTAKES: dict[str, tuple[tuple[str, ...], str]] = {
    # the study
    "unknown study": (("--study", "drop_out"), "No study named 'drop_out' in studies/. Nearest: dropout"),
    "no study": ((), "study"),
    "study file that is not there": (("--study", "{tmp}/nope.py", *DATA), "no study file"),
    "study file with a fault": (("--study", "{tmp}/broken.py", *DATA), "SyntaxError"),
    "study file that fixes the seed": (("--study", "{tmp}/seeded.py", *DATA), "seed"),
    "name with a slash": (("--study", "{mine}", *DATA, "--name", "a/b"), "letters, digits"),
    "name that is a folder above": (("--study", "{mine}", *DATA, "--name", ".."), "letters, digits"),
    "name of the database": (("--study", "{mine}", *DATA, "--name", "studies.db"), "studies.db"),
    "name of the cache": (("--study", "{mine}", *DATA, "--name", "cache"), "cache"),
    "name that no file system takes": (("--study", "{mine}", *DATA, "--name", "a" * 300), "at most 100 characters"),
    # numbers
    "no trials": (("--study", "{mine}", *DATA, "--n-trials", "0"), "n-trials"),
    "half a trial": (("--study", "{mine}", *DATA, "--n-trials", "1.5"), "n-trials"),
    "negative seed": (("--study", "{mine}", *DATA, "--seed", "-1"), "seed"),
    "large seed": (("--study", "{mine}", *DATA, "--seed", str(2**31)), "seed must be less than 2147483648"),
    "negative timeout": (("--study", "{mine}", *DATA, "--timeout", "-5"), "timeout"),
    "one of the people": (("--study", "{mine}", *DATA, "--people", "1"), "people"),
    "more people than there are": (("--study", "{mine}", *DATA, "--people", "999"), "people must be at most 60"),
    "too few people": (("--study", "{mine}", *DATA, "--people", "3"), "every class"),
    "unknown option": (("--study", "{mine}", *DATA, "--trials", "3"), "No such option"),
    "word too many": (("--study", "{mine}", *DATA, "more"), "more"),
    # --set
    "unknown name": (("--study", "{mine}", *DATA, "--set", "learning_rate=1"), "No hyperparameter named"),
    "near name": (("--study", "{mine}", *DATA, "--set", "epoch=1"), "Nearest: epochs"),
    "set without a value": (("--study", "{mine}", *DATA, "--set", "lr"), "KEY=VALUE"),
    "set without a key": (("--study", "{mine}", *DATA, "--set", "=1"), "KEY=VALUE"),
    "value out of range": (("--study", "{mine}", *DATA, "--set", "lr=5"), "lr must be less than or equal to 1, not 5"),
    "value of another kind": (("--study", "{mine}", *DATA, "--set", "epochs=many"), "epochs must be a valid integer"),
    "not a number": (("--study", "{mine}", *DATA, "--set", "lr=nan"), "lr must be"),
    "word of no list": (("--study", "{mine}", *DATA, "--set", "loss=hinge"), "'cross_entropy' or 'focal', not 'hinge'"),
    "unknown augmentation": (("--study", "{mine}", *DATA, "--set", "augment=rotate"), "cutmix, not 'rotate'"),
    "tiny photos": (
        ("--study", "{mine}", *DATA, "--set", "image_size=8"),
        "image_size must be greater than or equal to 16, not 8.",
    ),
    "half a size": (("--study", "{mine}", *DATA, "--set", "image_size=96x"), "image_size"),
    "what is compared": (("--study", "{mine}", *DATA, "--set", "drop_rate=0"), "cannot fix drop_rate"),
    "the seed": (("--study", "{mine}", *DATA, "--set", "seed=1"), "--seed"),
    "nobody to judge": (("--study", "{mine}", *DATA, "--set", "valid_share=0"), "valid_share must be greater than 0"),
    "nobody to learn from": (("--study", "{mine}", *DATA, "--set", "valid_share=0.99"), "every class"),
    "heads of a part": (("--study", "{mine}", *DATA, "--set", "task=age", "--set", "heads=three_heads"), "joint"),
    "unknown part of the label, before photos are drawn": (
        ("--study", "{mine}", "--set", "task=race"),
        "task must be all, mask, gender, age, not 'race'. Nearest: age.",
    ),
    "unknown backbone": (("--study", "{mine}", *DATA, "--set", "backbone=resnet_18"), "Nearest: resnet18"),
    "backbone that timm has renamed": (
        ("--study", "{mine}", *DATA, "--set", "backbone=tf_efficientnet_b3_ns"),
        "Use tf_efficientnet_b3.ns_jft_in1k.",
    ),
    "backbone from elsewhere": (("--study", "{mine}", *DATA, "--set", "backbone=hf-hub:x/y"), "timm's own names"),
    "no backbone": (("--study", "{mine}", *DATA, "--set", "backbone="), "no backbone named ''"),
    "backbone that does not fit": (
        ("--study", "{mine}", *DATA, "--set", "backbone=test_convnext", "--set", "image_size=16"),
        "test_convnext",
    ),
    # the photos
    "missing folder": (("--study", "{mine}", "--data", "{tmp}/nope"), "There is no folder {tmp}/nope"),
    "a file as folder": (("--study", "{mine}", "--data", "{tmp}/file"), "{tmp}/file is a file. Give its folder"),
    "empty folder": (("--study", "{mine}", "--data", "{tmp}/empty"), "There are no folders of pictures in {tmp}/empty"),
    "nobody's photos": (("--study", "{mine}", "--data", "{tmp}/empty_images"), "no folders of pictures in"),
    "folder without photos": (("--study", "{mine}", "--data", "{tmp}/no_photos"), "There are no photos in"),
    "one person only": (("--study", "{mine}", "--data", "{tmp}/one_person"), "at least two people"),
    "a class absent": (("--study", "{mine}", "--data", "{tmp}/few_classes"), "there are none of"),
    "folders of another layout": (("--study", "{mine}", "--data", "{tmp}/strange"), "1 are not: somebody"),
    "table that disagrees": (("--study", "{mine}", "--data", "{tmp}/disagrees"), "disagree"),
    "no file of fixes": (("--study", "{mine}", *DATA, "--label-fixes", "{tmp}/nope.csv"), "There is no file"),
    "fixes of another kind": (("--study", "{mine}", *DATA, "--label-fixes", "{tmp}/file"), "columns"),
    # where to
    "storage of no kind": (("--study", "{mine}", *DATA, "--storage", "runs/studies.db"), "cannot be opened"),
    "storage without driver": (("--study", "{mine}", *DATA, "--storage", "mysql+nope://a/b"), "cannot be opened"),
    "storage is a folder": (("--study", "{mine}", *DATA, "--storage", "sqlite:///{tmp}/empty"), "cannot be opened"),
    "storage of another kind": (("--study", "{mine}", *DATA, "--storage", "sqlite:///{tmp}/file"), "cannot be opened"),
    "storage in memory": (("--study", "{mine}", *DATA, "--storage", "sqlite://"), "would be lost"),
    "runs is a file": (("--study", "{mine}", *DATA, "--runs", "{tmp}/file"), "{tmp}/file"),
    "runs cannot be made": (("--study", "{mine}", *DATA, "--runs", "/proc/nothing"), "/proc/nothing"),
    "runs of a preview is a file": (("--study", "{mine}", "--runs", "{tmp}/file"), "{tmp}/file"),
    # device and weights
    "unknown device": (("--study", "{mine}", *DATA, "--device", "abacus"), "--device takes"),
    "device of another kind": (("--study", "{mine}", *DATA, "--device", "meta"), "--device takes"),
    "device that is not there": (("--study", "{mine}", *DATA, "--device", "cuda:99"), "There is no device cuda:99"),
    "weights folder that is not there": (("--study", "{mine}", *DATA, "--weights", "{tmp}/nope"), "no folder"),
    "weights folder without the file": (
        ("--study", "{mine}", *DATA, "--weights", "{tmp}/empty_weights"),
        "lacks test_efficientnet.safetensors",
    ),
    "weights that are none": (("--study", "{mine}", *DATA, "--weights", "{tmp}/broken_weights"), "broken_weights"),
    "weights that cannot be had": (
        ("--study", "{mine}", *DATA, "--weights", "pretrained"),
        "Pretrained weights are not available",
    ),
}


TOLD_BY_A_WORKER = ("table that disagrees", "backbone that does not fit", "weights that are none")
"""With real processes: found by the command while its first worker loads, and by that worker in its plan."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    mistake: str,
    places: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words, hint = MISTAKES[mistake]
    if mistake not in TOLD_BY_A_WORKER:
        work_in_this_process(monkeypatch)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    filled = [word.format(**places) for word in words]
    filled += [] if "--n-trials" in words else ["--n-trials", "1"]
    told = complain(monkeypatch, capsys, search.run.main, *filled)
    assert hint.format(**places) in told
    left = {path.relative_to(tmp_path).parts[:2] for path in set(tmp_path.rglob("*")) - before}
    names = (".studies.db.lock", *(f"studies.db{ending}" for ending in ("", "-shm", "-wal")))
    database = {("runs", name) for name in names}
    assert left <= {("runs",), ("runs", "cache"), *database}  # decoded photos serve the corrected command too
    if database & left:  # what only the plan can find comes after opening the storage; no study is stored in it
        assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/runs/studies.db") == []
