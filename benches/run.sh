#!/usr/bin/env bash
# Everything, one command: comparison at S, a few at L, memory, growth, plots, and the tables of
# README.md and docs/performance.md. Takes most of an hour and, at L, much of 24 GiB of memory and
# 2 GiB of disk. Nothing else should run. PYTHON names the interpreter; SMALL and LARGE other
# numbers of accounts, ROUNDS another than 3.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python}
small=${SMALL:-1000000}
large=${LARGE:-10000000}
rounds=${ROUNDS:-3}

"$python" -m suite --set comparison --accounts "$small" --rounds "$rounds"
"$python" -m suite --set large --accounts "$large" --rounds "$rounds"
"$python" -m memory --accounts "$small" "$large"
"$python" -m suite --set growth --accounts "$small"
"$python" -m plots
"$python" -m table
"$python" -m page
"$python" -m targets
