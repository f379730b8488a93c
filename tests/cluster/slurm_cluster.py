"""A Slurm cluster of this machine, and the project of a user of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent
RUN = "results/tiny/segmentation/scribble_only/tiny/full/none/seed-0"
WEIGHTS = f"{RUN}/weights.pt"


def wait_for(what: Callable[[], object], seconds: float = 600) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.2)


class Cluster:
    """A running Slurm.

    Attributes:
        folder: of its configuration, logs and process ids.
        environment: of whoever talks to it.
    """

    def __init__(self, folder: Path, gpus: int = 2, port: int = 26817) -> None:
        self.folder, self.gpus, self.port = folder, gpus, port
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SLURM_CONF": str(folder / "slurm.conf"),
            "CDSP_SLURM_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }

    def script(self, action: str) -> None:
        command = [HERE / "slurm.sh", action, self.folder, str(self.gpus)]
        subprocess.run(command, env=self.environment, check=True)

    def call(self, *command: str) -> str:
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def jobs(self, *states: str) -> list[str]:
        """The ids of jobs in some states, or in any."""
        wanted = f"--states={','.join(states) or 'all'}"
        return self.call("squeue", "--noheader", wanted, "--format=%i").split()

    @contextmanager
    def frozen(self, job: str) -> Iterator[None]:
        """Let a job neither go on nor end by itself in the block, however long that takes."""
        listed = self.call("scontrol", "listpids", job).splitlines()[1:]
        processes = [int(line.split()[0]) for line in listed if int(line.split()[0]) > 0]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):  # Slurm wakes what it ends
                    os.kill(process, signal.SIGCONT)

    def daemon(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())


class Project:
    """A user's folder, and Snakemake in it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        for name in ("workflow", "profiles", "envs"):
            shutil.copytree(ROOT / name, folder / name)
        shutil.copy(ROOT / "Snakefile", folder)
        shutil.copy(HERE / "experiment.yaml", folder / "config.yaml")
        slurm = folder / "profiles/slurm/profile.yaml"
        text = slurm.read_text()  # no accounting here, and a file system that does not lag
        for line in ("slurm-status-command: squeue", "slurm-init-seconds-before-status-checks: 40"):
            assert f"# {line}\n" in text
            text = text.replace(f"# {line}", line.replace("40", "5"))
        slurm.write_text(text)

    def take(self, other: "Project") -> None:
        """Start with what another project has made."""
        for name in ("results", ".snakemake"):
            shutil.copytree(other.folder / name, self.folder / name)

    def start(self, profile: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                BIN / "snakemake",
                *("--workflow-profile", f"profiles/{profile}"),
                *("--latency-wait", "5", "--seconds-between-status-checks", "1", *arguments),
            ],
            cwd=self.folder,
            env=self.cluster.environment,
            stdout=(self.folder / "printed.txt").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )

    def snakemake(self, profile: str, *arguments: str, fails: bool = False) -> str:
        code = self.start(profile, *arguments).wait(timeout=1800)
        printed = self.printed
        assert (code != 0) == fails, printed
        return printed

    @property
    def printed(self) -> str:
        return (self.folder / "printed.txt").read_text()

    @property
    def log(self) -> str:
        """Of the training."""
        path = self.folder / RUN.replace("tiny/segmentation", "tiny/logs/segmentation")
        path = path.with_name(f"{path.name}.log")
        return path.read_text(errors="replace") if path.is_file() else ""

    def wait_for_steps(self) -> None:
        """Until the training has made some."""
        wait_for(lambda: "images/s" in self.log)
        wait_for(lambda: list((self.folder / RUN).glob("unfinished-*/log.jsonl")))
