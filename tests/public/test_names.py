"""What can be imported: public names, no submodule hidden by a function, an engine without optional packages."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import reconv

ROOT = Path(__file__).parents[2]
PACKAGES = ["reconv", *(m.name for m in pkgutil.walk_packages(reconv.__path__, "reconv.") if m.ispkg)]

OPTIONAL = (
    *("accelerate", "cyclopts", "jaxtyping", "jinja2", "msgspec", "onnx", "pandas", "PIL", "rich", "sklearn", "timm"),
    *("torchvision", "tyro", "typer"),
)
# Torch imports some of these itself where they are installed; only imports by reconv are refused.
ENGINE_ALONE = f"""
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if name.split(".")[0] in {OPTIONAL} and frame and frame.f_globals.get("__name__", "").startswith("reconv"):
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Refuse())
runpy.run_path({str(ROOT / "tests" / "engine_alone.py")!r}, run_name="__main__")
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_hides_a_submodule(package: str) -> None:
    module = importlib.import_module(package)
    submodules = [name for _, name, _ in pkgutil.iter_modules(module.__path__) if name != "__main__"]
    for name in submodules:
        importlib.import_module(f"{package}.{name}")
    assert [name for name in submodules if not isinstance(getattr(module, name), ModuleType)] == []


def test_the_engine_needs_no_optional_package(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ENGINE_ALONE], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_importing_reconv_loads_no_torch() -> None:
    program = "import sys, reconv; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_page_of_public_names_is_complete() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    listed = re.findall(r"^\| `reconv\.(\w+)` \|", page, flags=re.M)
    assert sorted(listed) == sorted(reconv.__all__)
