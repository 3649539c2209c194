"""Trains hums again and again, each time killed at a random moment, until that was often enough.

``killed_training.py FOLDER KILLS SECONDS SEED``: each life is killed after at most SECONDS and the
next one continues with ``resume``; the last one is spared. A training that ends before it is killed
is followed by another one, in a folder beside. Prints how often each folder's training was killed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

# Before the forks, since its import takes longer than a life.
import tensorboard.summary.writer.record_writer  # noqa: F401
from hum_training import train_in_a_fork

from calve.models.checkpoints import read_checkpoint

OPTIONS = {"num_epochs": 12, "save_every_n": 1, "keep_last_k": 3, "resume": True}


def check_files(exp_dir: Path) -> None:
    """Every file with the name of a checkpoint is a whole one."""
    for path in exp_dir.glob("[!.]*.pt"):
        read_checkpoint(path)


def main(folder: Path, kills: int, seconds: float, seed: int) -> None:
    moments = random.Random(seed)
    counts = [0]
    while True:
        exp_dir = folder / f"exp-{len(counts) - 1}"
        child = train_in_a_fork(exp_dir, **OPTIONS)
        if sum(counts) < kills:
            time.sleep(moments.uniform(0.0, seconds))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        check_files(exp_dir)
        if os.WIFSIGNALED(status):
            counts[-1] += 1
        elif os.WEXITSTATUS(status):
            raise SystemExit(f"life {sum(counts)} failed")
        elif sum(counts) < kills:
            counts.append(0)
        else:
            break
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
