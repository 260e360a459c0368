#!/bin/sh
# What can this server do, and at what latency? A closed loop of 1 to 256 callers.
#   sweep.sh [TARGET] [OPTIONS OF covey load]      writes sweep.json and sweep.html
set -eu
target=${1:-localhost:8001}
[ $# -eq 0 ] || shift
exec covey load "$target" --concurrency 1,4,16,64,256 --json sweep.json --html sweep.html "$@"
