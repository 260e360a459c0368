#!/bin/sh
# Is one server faster than the other? Five measurements of each tell noise from change. BEFORE is then measured again:
# where that differs from the first time as much as AFTER does, the machine changed and not the server.
#   before_and_after.sh BEFORE AFTER [OPTIONS OF covey load]      writes before.json, after.json and again.json
set -eu
before=${1:?give two targets, as in: before_and_after.sh localhost:8001 localhost:9001}
after=${2:?give the second target}
shift 2
covey load "$before" --concurrency 16 --repeat 5 --json before.json "$@"
covey load "$after" --concurrency 16 --repeat 5 --json after.json "$@"
covey load "$before" --concurrency 16 --repeat 5 --json again.json "$@"
exec covey load compare before.json after.json again.json
