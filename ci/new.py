"""Start the folder of another paper: ``make new PAPER=slug``.

The folder is a copy of ``ci/newpaper``: a whole paper on a toy method of a few lines, which trains, is judged and
predicts at once. Every file says what belongs in it.
"""

import re
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parent / "newpaper"


def new(slug: str) -> list[Path]:
    """Write the folder's files, and its line of environment.yml.

    Raises:
        SystemExit: with one sentence, if the name is no slug or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise SystemExit(
            f"error: PAPER={slug!r} is not a slug: lower-case letters, digits and underscores, e.g. PAPER=pacl."
        )
    folder = Path("papers") / slug
    if folder.exists() or slug == "shared":  # a copy of the folder stands beside one of that name
        raise SystemExit(f"error: {folder if folder.exists() else slug} exists already.")
    environment, last = Path("environment.yml"), "      - -r ci/requirements.txt\n"
    environment.write_text(environment.read_text().replace(last, f"      - -r {folder}/requirements.txt\n{last}"))
    folder.mkdir(parents=True)
    written = []
    for path in sorted(path for path in TEMPLATE.iterdir() if path.is_file()):
        written.append(folder / path.name)
        written[-1].write_text(path.read_text().replace(TEMPLATE.name, slug))
    return [*written, environment]


if __name__ == "__main__":
    slug = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        print(*new(slug), sep="\n")
    except OSError as error:
        sys.exit(f"error: {error}")
    print(f"Next: `make reproduce PAPER={slug} PRESET=smoke` runs the toy method that stands there; then config.py and")
    print('data.py, and so on as README.md says under "Adding a paper".')
