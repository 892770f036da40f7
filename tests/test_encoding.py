"""Files are read and written as UTF-8, wherever the program runs."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT_CALLS = ("read_text", "write_text", "open", "fdopen", "run", "Popen", "check_output")


def text_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that read or write text and do not say in what encoding."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        words = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        is_binary = any("b" in mode and len(mode) <= 3 for mode in modes)
        if name in ("read_text", "write_text"):
            is_text = isinstance(node.func, ast.Attribute)  # maskcls.system.files has one of its own
        elif name in ("open", "fdopen"):  # a Path's is given a mode at most; other libraries open other things
            is_ours = isinstance(node.func, ast.Name) or name == "fdopen" or len(modes) == len(words)
            is_text = is_ours and not is_binary
        else:
            is_text = bool({"text", "universal_newlines"} & given)
        if name in TEXT_CALLS and is_text and "encoding" not in given:
            yield node


def test_every_text_file_and_pipe_says_its_encoding() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for folder in ("maskcls", "search")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in text_calls(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


SCRIPT = """
import json, sys
from pathlib import Path
from maskcls.config import TrainConfig, load_config, save_config
from maskcls.system.files import write_text
folder = Path(sys.argv[1])
origin = {"study": "Gr\\u00f6\\u00dfe \\ud55c\\uad6d\\uc5b4"}
save_config(folder / "config.toml", TrainConfig(), origin)
assert load_config(folder / "config.toml")[1] == origin
write_text(folder / "report.md", origin["study"])
"""


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"LC_ALL": "C.UTF-8"}]
)
def test_a_file_is_the_same_in_every_locale(tmp_path: Path, locale: dict[str, str]) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    subprocess.run(words, cwd=ROOT, env={**os.environ, **locale}, check=True)
    assert 'study = "Größe 한국어"' in (tmp_path / "config.toml").read_text(encoding="utf-8")
    assert (tmp_path / "report.md").read_bytes() == "Größe 한국어".encode()


def test_a_config_that_windows_saved_is_read(tmp_path: Path) -> None:
    from maskcls.config import load_config

    (tmp_path / "mine.toml").write_bytes('\ufeffbackbone = "test_vit"\n'.encode())
    assert load_config(tmp_path / "mine.toml")[0].backbone == "test_vit"
