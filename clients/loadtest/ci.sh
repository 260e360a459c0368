#!/bin/sh
# Does the server still keep its promises? For CI: exit code 5 where it does not, 4 where this machine could not tell.
#   ci.sh TARGET RATE P99_MS [OPTIONS OF covey load]      writes ci.json and ci.html
set -eu
target=${1:?give the target, as in: ci.sh localhost:8001 200 50}
rate=${2:?give the calls per second that it must bear}
p99_ms=${3:?give the milliseconds below which the 99th percentile must stay}
shift 3
exec covey load "$target" --rate "$rate" --seconds 20 --quiet --json ci.json --html ci.html \
  --assert "p99_ms<$p99_ms,errors==0" "$@"
