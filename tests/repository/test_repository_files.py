"""Files that nothing in calve reads: workflows, hooks, templates, citation, container."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from documented import REPOSITORY

from calve.common.config import load_toml

PROJECT = load_toml(REPOSITORY / "pyproject.toml")["project"]
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
YAML_FILES = [
    *WORKFLOWS,
    *sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml")),
    REPOSITORY / ".pre-commit-config.yaml",
    REPOSITORY / "CITATION.cff",
]
VERSION = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def load(path: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true, which BaseLoader leaves a string.
    content = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(content, dict)
    return content


def jobs() -> dict[str, dict[str, Any]]:
    return {
        f"{path.stem}.{name}": job for path in WORKFLOWS for name, job in load(path)["jobs"].items()
    }


def commands() -> str:
    steps = [step for job in jobs().values() for step in job.get("steps", ())]
    return "\n".join(step["run"] for step in steps if "run" in step)


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_a_yaml_file_can_be_read(path: Path) -> None:
    assert load(path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_says_when_it_runs_and_may_only_read(path: Path) -> None:
    workflow = load(path)
    assert workflow["name"] == path.stem
    assert workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", jobs())
def test_a_job_ends_in_time(name: str) -> None:
    job = jobs()[name]
    assert "uses" in job or 0 < int(job["timeout-minutes"]) <= 90


def test_only_publishing_has_a_token() -> None:
    assert [name for name, job in jobs().items() if "permissions" in job] == ["release.publish"]
    assert jobs()["release.publish"]["permissions"] == {"id-token": "write"}


def test_nothing_is_published_untested() -> None:
    assert jobs()["release.publish"]["needs"] == "tests"
    assert jobs()["release.tests"]["uses"] == "./.github/workflows/tests.yml"
    assert "workflow_call" in load(REPOSITORY / ".github/workflows/tests.yml")["on"]


def test_workflows_and_ci_call_scripts_and_targets_that_exist() -> None:
    called = commands() + (REPOSITORY / ".ci/run").read_text("utf-8")
    scripts = set(re.findall(r"(?<!\S)\.ci/[\w-]+", called))
    assert {".ci/packages", ".ci/build"} <= scripts
    assert [one for one in scripts if not os.access(REPOSITORY / one, os.X_OK)] == []
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    assert {"lint", "docs", "test"} <= set(re.findall(r"\bmake ([a-z-]+)", called)) <= targets


def test_every_version_of_python_that_is_claimed_is_tested() -> None:
    claimed = [found[1] for one in PROJECT["classifiers"] if (found := VERSION.fullmatch(one))]
    assert jobs()["tests.tests"]["strategy"]["matrix"]["python"] == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_commits_are_checked_as_make_lint_checks_them() -> None:
    (repository,) = load(REPOSITORY / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    entries = {hook["entry"].replace(".venv/bin", "$(BIN)") for hook in repository["hooks"]}
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe is not None
    lint = {re.sub(r"( --check)?( \.)?$", "", line) for line in recipe[1].split("\n")[:-1]}
    assert entries == {line.strip() for line in lint}


def test_the_citation_names_this_version() -> None:
    citation = load(REPOSITORY / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"] == PROJECT["name"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["abstract"].rstrip(".") == PROJECT["description"]
    assert [one["name"] for one in citation["authors"]] == [
        one["name"] for one in PROJECT["authors"]
    ]
    assert citation["message"]


def test_an_issue_form_asks_something() -> None:
    for name in ("bug", "feature"):
        form = load(REPOSITORY / f".github/ISSUE_TEMPLATE/{name}.yml")
        assert form["name"]
        assert form["description"]
        fields = [field["id"] for field in form["body"]]
        assert len(fields) == len(set(fields)) > 0


def test_the_container_runs_calve_as_an_ordinary_user() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text("utf-8").splitlines()
    last = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line[:1].isupper()}
    assert last["USER"] not in ("root", "0")
    assert last["ENTRYPOINT"] == '["calve"]'


def test_what_the_wheel_is_built_from_enters_the_container() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]} <= kept
    assert [name for name in kept if not (REPOSITORY / name).exists()] == []
