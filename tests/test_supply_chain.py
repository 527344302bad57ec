"""What is installed is locked: every dependency has a version and hashes, and no lock names a registry."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "app": ("app", "sign"),
    "app-gpu": ("app", "sign", "gpu", "explain"),
    "bench": ("dev", "bench"),
    "dev": ("dev",),
    "training": ("training", "warehouse"),
}


def required(extras):
    """The dependencies of the project with extras, those of extras within extras included."""
    found = {*PROJECT["dependencies"]}
    for extra in extras:
        for one in PROJECT["optional-dependencies"][extra]:
            own = Requirement(one)
            found |= required(own.extras) if own.name == PROJECT["name"] else {one}
    return found


def locked(name):
    """Pinned versions by package; several where they differ by Python or platform."""
    pins = {}
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = [one for one in re.split(r"\n(?=\S)", text) if not one.startswith("#")]
    for entry in entries:
        pinned = re.match(r"([\w.\-]+)(?:\[[\w,\-]+\])?==(\S+)", entry)
        assert pinned, entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), pinned[1]
        pins.setdefault(canonicalize_name(pinned[1]), []).append(pinned[2])
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_every_dependency_is_locked_at_a_version_that_it_allows(name):
    pins = locked(name)
    for one in map(Requirement, required(LOCKS[name])):
        versions = pins.get(canonicalize_name(one.name), [])
        assert versions, f"{one.name} is not in requirements/{name}.txt: make lock"
        assert all(one.specifier.contains(version) for version in versions), (one, versions)


def test_no_lock_names_a_registry_or_a_place_of_a_machine():
    for path in (ROOT / "requirements").iterdir():
        assert not re.search(r"://|--index|--find-links|(?m:^-c )", path.read_text()), path.name


def test_make_and_the_images_install_by_the_locks():
    makefile = (ROOT / "Makefile").read_text()
    installs = re.findall(r"pip install (.*)", makefile + (ROOT / "Dockerfile").read_text())
    free = [one for one in installs if not re.search("--require-hashes|--no-deps", one)]
    assert free == ["--quiet uv"]  # writes the locks
