"""``python -m shared.reproduce papers.clipsep``; under ``accelerate launch`` each process runs this."""

import os
import sys

from .command import main

if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        from .launch import LaunchedProcess

        sys.exit(main(lambda options: LaunchedProcess(options.paper, options.tracker)))
    from .pool import ProcessPool

    sys.exit(main(lambda options: ProcessPool(options.jobs, options.paper, options.tracker)))
