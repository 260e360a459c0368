#!/bin/sh
# What do users see who come when they like? An open loop at half, all and one and a half of a rate.
#   users.sh TARGET RATE SLO_MS [OPTIONS OF covey load]      writes users.json and users.html
set -eu
target=${1:?give the target, as in: users.sh localhost:8001 500 20}
rate=${2:?give the calls per second that you expect}
slo_ms=${3:?give the milliseconds within which an answer is worth something}
shift 3
rates=$(awk -v rate="$rate" 'BEGIN { printf "%g,%g,%g", rate / 2, rate, rate * 1.5 }')
exec covey load "$target" --rate "$rates" --slo-ms "$slo_ms" --seconds 30 --json users.json --html users.html "$@"
