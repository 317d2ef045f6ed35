"""A pipeline of one stage that takes no time, for tests of what is done with experiments; it runs by the real dvc."""

import subprocess
from collections.abc import Callable
from pathlib import Path

PIPELINE = """\
stages:
  evaluate:
    cmd: python stages/evaluate.py
    deps: [stages/evaluate.py]
    params: [lr, seed, split.fold]
    outs: [data/images.csv]
    metrics:
      - metrics: {cache: false}
"""
# Its accuracies are the learning rate; one above 1 is too much for it. Each fold has two images.
SCRIPT = """\
import json, os, sys, yaml
values = yaml.safe_load(open("params.yaml"))
rate, fold = float(values["lr"]), values["split"]["fold"]
if rate > 1:
    sys.exit("error: lr is too large")
figures = {"accuracy": rate, "balanced_accuracy": rate, "images": 2}
metrics = {
    "accuracy": figures,
    "head": {"head": figures, "head_validation": figures},
    "fine_tune": {"fine_tuned_validation": figures},
    "export": {"exported": "fine_tuned", "exported_validation": figures},
}
for folder in ("data", "metrics"):
    os.makedirs(folder, exist_ok=True)
for name in metrics:
    json.dump(metrics[name], open(f"metrics/{name}.json", "w"))
with open("data/images.csv", "w") as file:
    print("path,label,split", "any.png,a,", sep="\\n", file=file)
with open("metrics/predictions.csv", "w") as file:
    print("path,actual,predicted,p_actual,p_predicted,second,p_second", file=file)
    print(f"{fold}1.png,a,a,1,1,b,0", f"{fold}2.png,b,a,0,1,b,0", sep="\\n", file=file)
"""
GIT_CONFIG = "[user]\nname = Test\nemail = test@example.org\n[init]\ndefaultBranch = main\n"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout


def write() -> None:
    """Write the pipeline into the current folder, which has params.yaml."""
    Path("stages").mkdir()
    Path("stages/evaluate.py").write_text(SCRIPT)
    Path("dvc.yaml").write_text(PIPELINE)


def commit(home: Path, set_variable: Callable[[str, str], None], top: str = ".") -> None:
    """Make a DVC repository of the current folder, and a git repository of `top`, without the user's own settings."""
    home.mkdir()
    (home / ".gitconfig").write_text(GIT_CONFIG)
    variables = {"HOME": home, "DVC_SITE_CACHE_DIR": home / "site", "DVC_NO_ANALYTICS": 1, "GIT_CONFIG_NOSYSTEM": 1}
    for name, value in variables.items():
        set_variable(name, str(value))
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path(".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    Path(".gitignore").write_text("/.cache/\n/data/\n")
    git("init", "-q", top)
    git("add", ".")
    git("commit", "-q", "-m", "A pipeline of one stage")
