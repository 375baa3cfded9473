"""The toy's training, a tenth of a second for each letter; what it has done survives an interrupt."""

import time
from collections.abc import Mapping
from pathlib import Path

from components.contracts import RunLog
from tests.contract.toy import stages


def train(config: stages.TrainConfig, inputs: Mapping[str, Path], out: Path, log: RunLog) -> None:
    done = out / "done.txt"
    first = int(done.read_text()) if done.is_file() else 0
    log.message(f"from letter {first}")
    for letter in range(first, config.letters):
        done.write_text(str(letter))
        log.progress(letter, config.letters)
        time.sleep(0.1)
    stages.train(config, inputs, out, log)
