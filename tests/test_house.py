"""The house's walls at run time: who may load what, and that the rules of the linter are kept."""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

# Modules whose import must leave torch alone. The Celery process is worker.app: only its child may load torch.
TORCH_FREE = [
    "bfc_core",
    "bfc_core.specs",
    "bfc_core.records",
    "bfc_core.studies",
    "bfc_core.figures",
    "store.tables",
    "store.jobs",
    "store.claims",
    "api.app",
    "api.renderer",
    "launch.command",
    "launch.serve",
    "launch.doctor",
    "launch.backup",
    "bfc_client",
    "bfc_client.command",
    "worker.app",
    "worker.__main__",
    "migrations.__main__",
]

# What the client may not load, so that it installs on four packages.
SERVER_PACKAGES = {"fastapi", "starlette", "sqlalchemy", "psycopg", "celery", "kombu", "redis", "numpy", "torch"}

# Packages that another makes part of its own interface.
INSIDE = {"pydantic_core": "pydantic", "starlette": "fastapi", "anyio": "fastapi", "kombu": "celery", "httpcore": "httpx"}

LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""


def required_by(extras: set[str]) -> set[str]:
    """The distributions that `bfc-lab` itself asks for with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted, found = list(project["dependencies"]), set()
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    while wanted:
        requirement = Requirement(wanted.pop())
        for extra in requirement.extras if requirement.name == project["name"] else ():
            wanted += project["optional-dependencies"][extra]
        found.add(canonicalize_name(requirement.name))
    return found


def loaded_by(module: str) -> set[str]:
    """The packages that a fresh interpreter holds after importing `module`."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, module], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def house() -> grimp.ImportGraph:
    """Who imports whom, as the linter sees it."""
    rooms = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    return grimp.build_graph(*rooms, include_external_packages=True, exclude_type_checking_imports=True)


@pytest.mark.parametrize("module", TORCH_FREE)
def test_importing_it_leaves_torch_alone(module: str) -> None:
    assert "torch" not in loaded_by(module)


def test_the_api_never_loads_the_worker_nor_the_worker_the_api() -> None:
    assert not loaded_by("api.app") & {"worker", "launch", "bfc_client"}
    assert not loaded_by("worker.__main__") & {"api", "launch", "bfc_client", "fastapi"}


def test_the_client_loads_nothing_of_the_server() -> None:
    assert not loaded_by("bfc_client") & SERVER_PACKAGES
    assert not loaded_by("bfc_client") & {"store", "api", "worker", "launch"}


def test_the_command_stays_light_until_a_command_runs() -> None:
    # `bfc list` is run by hand all day; the server's commands are in the same program.
    assert not loaded_by("bfc_client.command") & SERVER_PACKAGES


@pytest.mark.parametrize(
    ("extras", "rooms"),
    [
        (set(), ["bfc_client", "bfc_core.specs", "launch.entry"]),
        ({"server"}, ["api", "store", "migrations", "launch", "bfc_core.specs", "bfc_core.studies", "bfc_core.figures"]),
        ({"worker"}, ["worker", "store", "bfc_core"]),
    ],
    ids=["client", "server", "worker"],
)
def test_each_extra_asks_for_all_that_its_rooms_import(
    house: grimp.ImportGraph, extras: set[str], rooms: list[str]
) -> None:
    required, owners = required_by(extras), importlib.metadata.packages_distributions()
    for room in rooms:
        for module in {room, *house.find_descendants(room)}:
            for package in house.find_modules_directly_imported_by(module):
                if house.is_module_squashed(package) and package not in sys.stdlib_module_names:
                    names = {canonicalize_name(owner) for owner in [*owners.get(package, []), INSIDE.get(package, "")]}
                    assert names & required, f"{module} imports {package}"


def test_the_import_rules_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache", "--no-logo"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_every_room_is_in_the_wheel_and_under_the_rules() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    packages = set(project["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages == set(project["importlinter"]["root_packages"])
    assert packages - {"web"} <= set(project["mypy"]["packages"])
    assert all((ROOT / name).is_dir() for name in packages)


def test_the_pins_cover_what_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {requirement.name: requirement for requirement in map(Requirement, filter(_says, lines))}
    pinned = {canonicalize_name(name): next(iter(one.specifier)).version for name, one in pins.items()}
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, wanted):
        if requirement.name != project["name"]:
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} against {version}"
    assert pinned["torch"] == "2.13.0", "plain, so that any build of it will do"


def test_the_pins_install_on_every_python_that_is_promised() -> None:
    """Also on the first release of one: Debian 12 has 3.11.2."""
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    refuse = {
        f"{found.name} {found.version} needs Python {needs}"
        for found in importlib.metadata.distributions()
        if (needs := found.metadata.get("Requires-Python")) and not SpecifierSet(needs).contains(f"{promised}.0")
    }
    assert refuse == set()


def test_nothing_unpickles_or_evaluates_what_came_from_outside() -> None:
    forbidden = ("import pickle", "torch.load(", " eval(", " exec(", "allow_pickle=True", "yaml.load(")
    rooms = ("bfc_core", "store", "api", "worker", "launch", "bfc_client", "migrations")
    found = [
        f"{file.relative_to(ROOT)}: {word}"
        for room in rooms
        for file in (ROOT / room).rglob("*.py")
        for word in forbidden
        if word in file.read_text()
    ]
    assert found == []


def test_a_changelog_fragment_is_a_line_or_two() -> None:
    fragments = [file for file in (ROOT / "changelog.d").glob("*.md") if file.name != "README.md"]
    assert fragments
    for file in fragments:
        assert 1 <= len(file.read_text().strip().splitlines()) <= 3, file.name


def test_decisions_are_numbered_once() -> None:
    numbers = [file.name[:4] for file in (ROOT / "docs" / "decisions").glob("[0-9]*.md")]
    assert len(numbers) == len(set(numbers))


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs/decisions/0065-why-each-dependency.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = required_by(set(project["optional-dependencies"])) - {project["name"]}
    assert {name for name in named if f"`{name}`" not in reasons.lower()} == set()
