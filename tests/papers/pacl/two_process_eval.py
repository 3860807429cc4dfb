"""Run by test_eval.py under torchrun: two processes share the images of the benchmarks."""

import json
import sys
from pathlib import Path

import open_clip

from papers.pacl import eval as evaluation
from papers.pacl.config import PRESETS, Config
from shared.run import Run


def main(folder: Path, patches: int) -> None:
    run = Run(folder / "run", folder / "cache", seed=0)
    assert run.accelerator.num_processes == 2
    if not run.accelerator.is_main_process:
        assert evaluation.evaluate(PRESETS["smoke"], run) == {}, "scenes are the main process's alone"
    open_clip.add_model_config(folder)
    evaluation.PATCHES = patches
    metrics = evaluation.evaluate(Config(**json.loads((folder / "config.json").read_text())), run)
    if run.accelerator.is_main_process:
        print(json.dumps(metrics))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
