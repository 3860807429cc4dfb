"""Copy a paper and ``shared/`` to where a researcher can change them: ``make export PAPER=clipsep DEST=~/work``."""

import re
import shlex
import shutil
import sys
from pathlib import Path

IGNORED = shutil.ignore_patterns("__pycache__", "*.wav", "*.partial")


PYTHON = ".venv/bin/python -m"
OPTIONS = {"PRESET": "--preset", "DATA": "--data", "OUT": "--out", "JOBS": "--jobs", "SET": "--set"}


def translated(text: str, paper: str) -> str:
    """A README whose commands work in the copy, where there is no Makefile and no folder ``papers``."""

    def listed(match: re.Match[str]) -> str:
        return f"--{match[1].lower()} {match[2].replace(',', ' ')}"

    def options(given: str) -> str:
        for name, option in OPTIONS.items():
            given = re.sub(rf"\b{name}=", f"{option} ", given)
        return re.sub(r"\b(VARIANTS|SEEDS)=([\w,.-]+)", listed, given).rstrip()

    def command(match: re.Match[str]) -> str:
        target, given = match[1], match[2]
        if target == "predict":
            arguments = re.search(r"ARGS=(['\"])(.*)\1", given, re.DOTALL)
            return f"{PYTHON} {paper}.predict {arguments[2] if arguments else given.partition('ARGS=')[2]}".rstrip()
        check = " --check-data" if target == "check-data" else ""
        return f"{PYTHON} shared.reproduce {paper}{check}{options(given)}"

    text = re.sub(
        rf"make (reproduce|check-data|predict) PAPER={paper}((?: +[A-Z]+=(?:'[^']*'|\"[^\"]*\"|[^\s`]+))*)",
        command,
        text,
    )
    return re.sub(rf"\bpapers\.{paper}\b", paper, text)


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
        readme = target / paper / "README.md"
        readme.chmod(0o644)
        readme.write_text(translated(readme.read_text(), paper))
        copied = [Path(shutil.copy(path, target)) for path in ("ci/constraints.txt", "LICENSE")]
        copied += [path for name in (paper, "shared") for path in (target / name, *(target / name).rglob("*"))]
        for path in copied:  # of a checkout that may not be changed
            path.chmod(path.stat().st_mode | 0o200)
    except OSError as error:
        for name in (paper, "shared"):  # or the next try would find them
            shutil.rmtree(target / name, ignore_errors=True)
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror  # of the first file
        raise SystemExit(f"error: cannot copy to {error.filename or target}: {reason}.") from None
    commands = f"""  python3 -m venv .venv
  .venv/bin/pip install -c constraints.txt -r shared/requirements.txt -r {paper}/requirements.txt
  .venv/bin/python -m {paper}.predict --help                # your own files, with the committed weights
  .venv/bin/python -m shared.reproduce {paper}              # every variant and seed
  .venv/bin/python -m {paper}.train --preset smoke          # one run, in seconds; --help: every option"""
    if not (target / "README.md").exists():
        text = f"# {paper}\n\nCopied with `shared/`, to be changed ([{paper}/README.md]({paper}/README.md)).\n\n"
        (target / "README.md").write_text(text + re.sub("^  ", "    ", commands, flags=re.MULTILINE) + "\n")
    return f"Copied {paper} and shared to {target}. To run it there:\n\n  cd {shlex.quote(str(target))}\n{commands}"


if __name__ == "__main__":
    print(export(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
