"""What the documents tell a reader to type is typed here."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from workflow_runner import NETWORK, ROOT, copy_workflow, environment, snakemake

from cdsp.io.json_files import read_json_lines

pytestmark = pytest.mark.workflow

pytest.importorskip("snakemake")

TINY = ROOT / "tests/workflow/tiny.yaml"


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", document, flags=re.MULTILINE | re.DOTALL)


def test_a_method_is_added_as_the_document_says(tmp_path):
    document = (ROOT / "docs/add_a_method.md").read_text()
    term, test = blocks(document, "python")
    (rows,) = map(yaml.safe_load, blocks(document, "yaml"))
    (path,) = re.findall(r"^## .*`(cdsp/losses/\w+\.py)`$", document, flags=re.MULTILINE)

    copy_workflow(tmp_path)
    shutil.copytree(ROOT / "cdsp", tmp_path / "cdsp")
    (tmp_path / path).write_text(term)
    (place,) = re.findall(r"`(tests/losses/test_\w+\.py)`, against loops", document)
    shutil.copytree(ROOT / "tests/losses", tmp_path / "tests/losses")
    (tmp_path / place).write_text(test)
    (bad_input,) = re.findall(r"^    pytest (.*)$", document, flags=re.MULTILINE)
    for arguments in (place, bad_input):
        command = [sys.executable, "-m", "pytest", "-q", *arguments.split()]
        tried = subprocess.run(
            command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True
        )
        assert tried.returncode == 0, tried.stdout
    configuration = yaml.safe_load(TINY.read_text())
    configuration["methods"] = rows["methods"]
    (table,) = rows["tables"].values()
    # As small as can be; the document's own names are those of the shipped configuration.
    smaller = {
        "networks": [NETWORK],
        "pseudo_labels": ["cam"],
        "seeds": [0],
        "figures": ["training"],
    }
    configuration["tables"] = {"entropy": table | smaller}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(configuration))

    (command,) = re.findall(r"^    snakemake --cores 8 (.*)$", document, flags=re.MULTILINE)
    snakemake(tmp_path, "--cores", "2", command, code=tmp_path)
    made = pd.read_csv(tmp_path / command)
    assert made["method"].tolist() == ["scribble_only", *["scribble_and_entropy"] * 2]
    assert made["entropy.weight"].tolist()[1:] == [0.1, 0.3]
    assert made["miou_mean"].between(0, 100).all()
    run = f"results/tiny/segmentation/scribble_and_entropy/{NETWORK}/full/none/seed-0"
    log = [record for _, record in read_json_lines(tmp_path / run / "log.jsonl")]
    assert all(record["entropy"] > 0 for record in log)
