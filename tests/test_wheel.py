"""The wheel: what is in it, and that its engine needs none of the optional packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    *("accelerate", "cyclopts", "jaxtyping", "jinja2", "matplotlib", "msgspec", "onnx", "onnxruntime", "pandas", "PIL"),
    *("pydantic", "rich", "sklearn", "timm", "torchvision", "typer"),
)

# Torch imports some of these packages itself where it finds them, as jinja2; only imports by reconv are refused.
WITHOUT_EXTRAS = """
import sys, runpy
optional = set({optional!r})

class Refuse:
    def find_spec(self, name, path=None, target=None):
        importer = sys._getframe(1)
        while importer and "importlib" in importer.f_code.co_filename:
            importer = importer.f_back
        if name.split(".")[0] in optional and importer and importer.f_globals.get("__name__", "").startswith("reconv"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.path[:] = [{site!r}, *(path for path in sys.path if path != {source!r})]
sys.meta_path.insert(0, Refuse())
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this checkout, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    return next(folder.glob("reconv-*.whl"))


@pytest.mark.slow
def test_the_wheel_can_be_published(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert "reconv/py.typed" in names
    assert any(name.endswith("report.html.jinja") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "docs/")) for name in names)
    for label in ("Documentation", "Source", "Issues", "Changelog"):
        assert f"Project-URL: {label}, https://" in metadata
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {line.split()[1].split(">")[0] for line in required} == {"torch", "numpy", "scipy", "safetensors"}


@pytest.mark.slow
def test_the_engine_of_the_wheel_works_without_the_extras(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = WITHOUT_EXTRAS.format(
        optional=OPTIONAL, site=str(site), source=str(ROOT / "src"), script=str(ROOT / "tests" / "engine_alone.py")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
