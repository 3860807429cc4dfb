"""Run by test_loading.py under torchrun: each process writes down the batches it got."""

import json
import sys
from pathlib import Path

from accelerate import Accelerator
from test_loading import BATCH, Drawn, accelerator, batches, take

from shared import UserError
from shared.loading import Batches


def main(folder: Path) -> None:
    assert accelerator().num_processes == 2
    got: dict[str, object] = {}
    for workers, start in ((0, 0), (2, 0), (0, 7)):
        stream = batches(workers=workers)
        stream.load_state_dict({"samples": start * BATCH})
        got[f"{workers} workers from {start}"] = take(stream, 12 - start)
    try:
        Batches(Drawn(), BATCH - 1, seed=0, accelerator=accelerator())
    except UserError as error:
        got["error"] = str(error)
    try:
        Batches(Drawn(), BATCH, seed=0, accelerator=Accelerator(cpu=True))
    except ValueError as error:
        got["whole batches"] = str(error)
    (folder / f"rank{accelerator().process_index}.json").write_text(json.dumps(got))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
