"""The files of studies/: documents, not programs."""

import ast
import re
import shlex

import pytest

from maskcls.system.errors import UserError
from search.study.loading import STUDIES, known_studies, load_study_file
from search.study.space import distributions, factors
from search.study.study import Choice, preview_of
from tests.helpers.search import option_names
from tests.helpers.training import one_line

NAMES = known_studies()


def tree(name: str) -> ast.Module:
    return ast.parse((STUDIES / f"{name}.py").read_text())


def docstring(name: str) -> str:
    text = ast.get_docstring(tree(name))
    assert text is not None
    return text


def test_the_six_questions_are_there() -> None:
    assert set(NAMES) >= {"quickstart", "dropout", "augment", "backbone", "heads", "recipe"}


@pytest.mark.parametrize("name", NAMES)
def test_the_question_is_the_first_line_of_the_docstring(name: str) -> None:
    question = load_study_file(name).question
    assert question == docstring(name).splitlines()[0]
    assert question.endswith("?")


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_says_how_to_run_it_what_it_costs_and_what_was_found(name: str) -> None:
    for word in ("Run:", "Cost:", "Found:"):
        lines = [line for line in docstring(name).splitlines() if line.startswith(word)]
        assert len(lines) == 1
        assert lines[0].removeprefix(word).strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_study_imports_the_words_of_search_study_and_nothing_else(name: str) -> None:
    imports = [node for node in ast.walk(tree(name)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    for node in imports:
        assert isinstance(node, ast.ImportFrom), ast.unparse(node)
        assert node.module == "search.study"
    names = {node.id for node in ast.walk(tree(name)) if isinstance(node, ast.Name)}
    assert not names & {"__import__", "importlib", "open", "exec", "eval"}


@pytest.mark.parametrize("name", NAMES)
def test_the_run_command_parses_and_names_this_study(name: str) -> None:
    found = re.search(r"^Run: +(.*)$", docstring(name), flags=re.MULTILINE)
    assert found is not None
    words = shlex.split(found[1])
    assert words[:3] == ["python", "-m", "search.run"]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given.keys() <= option_names("search.run")
    assert given["--study"] == name
    assert int(given["--n-trials"]) >= 2 * max((len(factor.levels) for factor in factors_of(name)), default=1)


def factors_of(name: str) -> list:
    return factors(load_study_file(name).scientific)


def test_dropout_compares_what_the_learning_log_compared() -> None:
    domain = load_study_file("dropout").scientific["drop_rate"]
    assert isinstance(domain, Choice)
    assert {0.0, 0.7} <= set(domain.options)
    assert load_study_file("dropout").fixed["backbone"] == "efficientnet_b3"


def test_backbone_has_the_eight() -> None:
    domain = load_study_file("backbone").scientific["backbone"]
    assert isinstance(domain, Choice)
    wanted = "efficientnet_b0 efficientnet_b3 densenet121 resnet18 resnet50 convnext_tiny vit_small_patch16_224"
    assert {*wanted.split(), "swin_tiny_patch4_window7_224"} <= set(domain.options)
    assert "lr" in load_study_file("backbone").nuisance


def test_timm_knows_every_backbone_of_every_study() -> None:
    import timm

    for name in NAMES:
        for study in (load_study_file(name), preview_of(load_study_file(name))):
            domain = study.space.get("backbone")
            known = [study.fixed["backbone"]] if domain is None else list(domain.options)  # type: ignore[union-attr]
            assert all(timm.is_model(backbone) for backbone in known)


def test_heads_compares_one_model_three_heads_and_three_models() -> None:
    assert load_study_file("heads").scientific == {"heads": Choice("joint", "three_heads", "three_models")}


def test_recipe_compares_nothing() -> None:
    assert factors_of("recipe") == []
    assert len(load_study_file("recipe").nuisance) > 5


@pytest.mark.parametrize("name", [name for name in NAMES if not load_study_file(name).synthetic])
def test_a_preview_asks_the_same_of_fewer_pixels(name: str) -> None:
    study = load_study_file(name)
    preview = preview_of(study)
    assert preview.synthetic
    assert preview.scientific.keys() == study.scientific.keys()
    assert preview.nuisance.keys() == study.nuisance.keys()
    same = [name for name in study.space if name != "backbone"]
    assert all(preview.space[name] == study.space[name] for name in same)
    assert preview.fixed["image_size"] == 96
    assert preview.fixed["epochs"] <= study.fixed["epochs"]
    assert distributions(preview.space).keys() == distributions(study.space).keys()


def test_an_unknown_study_is_told_the_nearest_and_all_of_them() -> None:
    with pytest.raises(UserError, match=r"No study named 'drop_out' in studies/\. Nearest: dropout") as caught:
        load_study_file("drop_out")
    assert all(name in one_line(caught.value) for name in NAMES)


@pytest.mark.parametrize("name", ["__init__", "", "LOG", "."])
def test_what_is_no_study_is_not_loaded(name: str) -> None:
    with pytest.raises(UserError, match="No study named"):
        load_study_file(name)
