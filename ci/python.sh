#!/bin/sh
# Print the first Python that is new enough, or one sentence and nothing.
for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$python" && exit
done
echo "error: no Python 3.11 or newer was found; install one, or name it with PYTHON=/path/to/python." >&2
exit 1
