"""Copy a paper and ``shared/`` to where a researcher can change them: ``make export PAPER=clipsep DEST=~/work``."""

import shlex
import shutil
import sys
from pathlib import Path

IGNORED = shutil.ignore_patterns("__pycache__", "*.wav", "*.partial")


def export(paper: str, destination: str) -> str:
    """Copy, and return the commands that run the copy.

    Raises:
        SystemExit: with one sentence, if the destination is not given, not writable, or already holds a copy.
    """
    if not destination:
        raise SystemExit("error: DEST= is not set; name the folder to copy to, e.g. DEST=~/work.")
    target = Path(destination).expanduser()
    for name in (paper, "shared"):
        if (target / name).exists():
            raise SystemExit(f"error: {target / name} exists already; move it away or choose another DEST=.")
    try:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copytree(Path("papers") / paper, target / paper, ignore=IGNORED)
        shutil.copytree("shared", target / "shared", ignore=IGNORED)
        copied = [Path(shutil.copy(path, target)) for path in ("ci/constraints.txt", "LICENSE")]
        copied += [path for name in (paper, "shared") for path in (target / name, *(target / name).rglob("*"))]
        for path in copied:  # of a checkout that may not be changed
            path.chmod(path.stat().st_mode | 0o200)
    except OSError as error:
        for name in (paper, "shared"):  # or the next try would find them
            shutil.rmtree(target / name, ignore_errors=True)
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror  # of the first file
        raise SystemExit(f"error: cannot copy to {error.filename or target}: {reason}.") from None
    return f"""Copied {paper} and shared to {target}. To run it there:

  cd {shlex.quote(str(target))}
  python3 -m venv .venv
  .venv/bin/pip install -c constraints.txt -r shared/requirements.txt -r {paper}/requirements.txt
  .venv/bin/python -m shared.reproduce {paper}              # every variant and seed
  .venv/bin/python -m {paper}.train --preset smoke          # one run, in seconds; --help: every option"""


if __name__ == "__main__":
    print(export(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
