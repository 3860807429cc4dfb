"""One sentence for a variable that make does not know: ``ci/nearest.py GIVEN KNOWN...``."""

import difflib
import sys

given, *known = sys.argv[1:]
near = difflib.get_close_matches(given.upper(), known, 1, cutoff=0.5)
field = f'a field of the configuration is given as SET="{given.lower()}=..."'
hint = f"did you mean {near[0]}=?" if near else f"there are {', '.join(known)}; {field}."
print(f"{given}= is no variable of this Makefile; {hint}")
