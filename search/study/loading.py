"""Loading study files: those of ``studies/``, and users' own."""

import importlib.util
import sys
from pathlib import Path

from maskcls.system.errors import UserError, nearest, one_line
from search.study.study import Study, preview_of

PREVIEW = "-preview"
"""What the stored name of a preview ends with."""

STUDIES = Path(__file__).parents[2] / "studies"


def load_study_file(name: str) -> Study:
    """STUDY of ``studies/<name>.py``, or of the file at the path ``name``, which ends in .py.

    Raises UserError if there is no such file, if it cannot be loaded, or if it defines no study.
    """
    path = _study_path(name)
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass in the file looks for the names of its types
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except SystemExit as error:
        raise UserError(f"The study file {path} calls sys.exit (status {error.code}); remove that call.") from None
    except Exception as error:  # a user's file may raise anything
        raise UserError(
            f"The study file {path} cannot be loaded: {type(error).__name__}: {one_line(error)}."
        ) from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"The study file {path} must define STUDY = Study(...).")
    return study


def _study_path(name: str) -> Path:
    """The path of the study's file. Raises UserError if there is no file, saying what is there instead."""
    path = Path(name)
    if name.endswith(".py"):
        if path.is_symlink() and not path.exists():
            raise UserError(f"The study file {path} is a link to {path.readlink()}, which does not exist.")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is a folder, not a study file; give the file's path.")
        if not path.exists():
            raise UserError(f"There is no study file {path}.")
        return path
    if (STUDIES / f"{name}.py").is_file() and not name.startswith("_"):
        return STUDIES / f"{name}.py"
    if path.is_file() or ("/" in name and path.exists()):
        raise UserError(f"{name} is not a study file; give a path that ends in .py.")
    names = known_studies()
    raise UserError(f"No study named {name!r} in studies/.{nearest(name, names)} There are: {', '.join(names)}.")


def names_a_file(name: str) -> bool:
    """Whether --study names a study of ``studies/`` or a path, be there a file or not."""
    return name.endswith(".py") or "/" in name or name in known_studies()


def known_studies() -> list[str]:
    """The names of the studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.py") if not path.stem.startswith("_"))


def find_study_file(name: str, question: str) -> tuple[str, Study | None]:
    """The study of ``studies/`` that asks the question of the stored study ``name``, and what that runs: the study or
    its preview; empty when no file there does."""
    first = name.removesuffix(PREVIEW)
    for file in sorted(known_studies(), key=lambda file: file != first):
        try:
            study = load_study_file(file)
        except UserError:
            continue
        if study.question == question:
            is_preview = name.endswith(PREVIEW) and not study.synthetic
            return file, preview_of(study) if is_preview else study
    return "", None
