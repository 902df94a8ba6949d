"""A release: the source distribution is whole, and a wheel made of it, installed with no checkout
in sight, does what the project is for."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from places import ROOT

SOURCES = ("tai_dpt", "trainers", "datasets", "configs", "data", "LICENSES")
# what is made in a checkout, and what only its host reads
NO_SOURCES = (
    ".git",
    ".ci",
    ".venv",
    "build",
    "dist",
    "output",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
)
NO_SOURCES += (".hypothesis", ".coverage*", "shared")
LITTLE = ("OPTIM.MAX_EPOCH", "1", "DATASET.CORPUS.MAX_CAPTIONS", "200")


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy, so that nothing is written into the checkout."""
    source = tmp_path_factory.mktemp("copy") / "source"
    return Path(shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NO_SOURCES)))


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    built = run(sys.executable, "-c", code, folder, cwd=source)
    assert built.returncode == 0, built.stderr
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    """Built from the source distribution, without a warning of what it leaves out."""
    pip = (sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-index")
    built = run(*pip, "--no-build-isolation", "--wheel-dir", "dist", sdist, cwd=sdist.parent)
    assert built.returncode == 0, built.stderr
    assert "is absent from the `packages`" not in built.stdout + built.stderr
    (path,) = (sdist.parent / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel; it borrows other packages, but no editable installation:
    of a folder that a ``.pth`` file names, Python reads no further ``.pth`` files."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    borrowed = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (own,) = (folder / "lib").glob("python*/site-packages")
    (own / "borrowed.pth").write_text("\n".join([*borrowed, *site.getsitepackages()]))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    pip += ("--no-deps", "--no-compile", "--force-reinstall")
    installed = run(*pip, wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    where = run(python, "-c", "import tai_dpt; print(tai_dpt.__file__)", cwd=folder)
    assert where.stdout.strip() == str(own / "tai_dpt/__init__.py")
    return python


@pytest.fixture
def tai_dpt(python, tmp_path):
    """Runs ``tai-dpt`` of the wheel in an empty folder."""

    def command(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return run(python, "-m", "tai_dpt", *arguments, cwd=tmp_path, **environment)

    return command


def test_the_source_distribution_holds_every_file(source, sdist):
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"}
    here = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    here = {name for name in here if ".egg-info/" not in name}
    assert here - names == set()
    assert {name for name in names - here if ".egg-info/" not in name} <= made


def test_what_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tai_dpt"}
    for part in ("trainers/tai_dpt.py", "datasets/voc2007.py", "configs/trainers/TaIDPT/rn50.yaml"):
        assert f"tai_dpt/{part}" in names
    for part in ("clip.safetensors", "classes.yaml", "annotations/captions_train.json"):
        assert f"tai_dpt/data/emoji_scenes/{part}" in names
    assert not [name for name in names if name.startswith("tai_dpt/emoji_scenes/")]
    licences = {name.split("licenses/")[1] for name in names if ".dist-info/licenses/" in name}
    sprites = "data/emoji_scenes/ATTRIBUTION.md"
    texts = {f"LICENSES/{path.name}" for path in (ROOT / "LICENSES").iterdir()}
    assert licences == {"LICENSE", sprites, *texts}


def links(metadata: str) -> list[tuple[str, str]]:
    """The pictures ("!") and links of a description that is not code."""
    prose = re.sub(r"```.*?```", "", metadata, flags=re.S)
    return re.findall(r"(!?)\[[^\]]+\]\(([^)]+)\)", prose)


def test_an_index_shows_no_link_to_a_file_that_it_has_not(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in metadata
    found = links(metadata)
    assert found and all(target.startswith("https://") for _, target in found)
    pictures = 2 if "Project-URL: Repository" in metadata else 0
    assert sum(picture == "!" for picture, _ in found) == pictures
    assert "**TaI-DPT 88.6**" in metadata and "go on from here" in metadata


def test_an_index_shows_the_pictures_of_a_repository_that_is_known(source, tmp_path):
    """At the tag of the version; every file that is named is in the checkout."""
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    home = "https://example.org/somebody/tai-dpt"
    project = (source / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").unlink()
    known = project.replace("[project.urls]", f'[project.urls]\nRepository = "{home}"')
    (tmp_path / "pyproject.toml").write_text(known)
    code = "from setuptools.build_meta import *; prepare_metadata_for_build_wheel('.')"
    made = run(sys.executable, "-c", code, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (metadata,) = tmp_path.glob("*.dist-info/METADATA")
    found = [(p, t) for p, t in links(metadata.read_text()) if t.startswith(home)]
    version = re.search("^Version: (.+)", metadata.read_text(), re.M)[1]
    for picture, target in found:
        place = f"{home}/{'raw' if picture else 'blob'}/v{version}/"
        assert target.startswith(place) and (ROOT / target.removeprefix(place)).is_file()
    assert sum(picture == "!" for picture, _ in found) == 2 and len(found) > 5


def test_everything_a_wing_needs_at_run_time_is_in_it(wheel):
    """Every file of the packages that is no code: templates, vocabularies, configs, data."""
    folders = {"tai_dpt": "tai_dpt", **{f: f"tai_dpt/{f}" for f in SOURCES[1:-1]}}
    kept = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in folders.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        missing = kept - set(archive.namelist())
    assert {name for name in missing if not name.startswith("tai_dpt/emoji_scenes/")} == set()


WHERE = """
from tai_dpt.io.shipped import config_path, shipped_data
print(shipped_data(), config_path("datasets"), config_path("trainers"), sep="\\n")
"""
ONE_BY_ONE = """
import json, sys
from tai_dpt.cli.main import cli
for arguments in json.loads(sys.argv[1]):
    cli.main(arguments, "tai-dpt", standalone_mode=False)
"""


def test_demo_fit_and_train(python, tmp_path):
    """In one process: most of the time is its start."""
    root, datasets, trainers = run(python, "-c", WHERE, cwd=tmp_path).stdout.split()
    assert Path(root).is_relative_to(python.parents[1])
    train = ("--trainer", "TaIDPT", "--root", root, "--seed", "1", "--output-dir", "run")
    train += ("--dataset-config-file", f"{datasets}/emoji_scenes.yaml")
    train += ("--config-file", f"{trainers}/TaIDPT/emoji_scenes.yaml", *LITTLE)
    (tmp_path / "classes.txt").write_text("dog\ncar\n")
    (tmp_path / "captions.txt").write_text("a dog beside a car\na red car\na small dog\n" * 20)
    fit = ("--classes", "classes.txt", "--captions", "captions.txt", "--out", "tagger")
    fit += ("--backbone", "emoji_scenes", "--epochs", "1")
    asked = [("demo", "--epochs", "1", "--out", "demo"), ("fit", *fit), ("train", *train)]
    done = run(python, "-c", ONE_BY_ONE, json.dumps(asked), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "TaI-DPT" in done.stdout and "* mAP:" in done.stdout
    for made in ("demo/scenes.png", "run/scores.npz", "tagger/tagger.json"):
        assert (tmp_path / made).is_file()


def test_sweep(tai_dpt, tmp_path):
    planned = tai_dpt("sweep", "table1", "emoji_scenes", "--dry-run")
    assert planned.returncode == 0 and "TaIDPT" in planned.stdout, planned.stderr
    done = tai_dpt("sweep", "table1", "emoji_scenes", "OPTIM.MAX_EPOCH", "1", SEEDS="1")
    assert done.returncode == 0, done.stderr
    assert "TaI-DPT" in done.stdout
    assert (tmp_path / "output/emoji_scenes/TaIDPT").is_dir()


def test_the_maker_of_the_small_world_is_for_a_checkout(tai_dpt):
    asked = tai_dpt("emoji-scenes", "--help")
    assert asked.returncode == 2 and asked.stdout == ""
    (line,) = asked.stderr.splitlines()
    assert "emoji-scenes" in line and "checkout" in line
    assert "emoji-scenes" not in tai_dpt("--help").stdout
