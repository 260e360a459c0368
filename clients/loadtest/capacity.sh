#!/bin/sh
# How many calls per second may come so that 99 % of them are answered within a bound?
#   capacity.sh TARGET SLO_MS [OPTIONS OF covey load]      writes capacity.json and capacity.html
set -eu
target=${1:?give the target, as in: capacity.sh localhost:8001 20}
slo_ms=${2:?give the milliseconds within which an answer is worth something}
shift 2
exec covey load "$target" --find-capacity --slo-ms "$slo_ms" --json capacity.json --html capacity.html "$@"
