#!/bin/sh
# What does the Open Inference Protocol cost beside Covey's own, and how does another server compare on the same model?
#   protocols.sh TARGET MODEL [OTHER] [OPTIONS OF covey load]      OTHER: host:port of its gRPC side; "" for none
# Writes covey.json, oip.json and other.json. Each is measured to its end before the next begins, so a machine that is
# slower for a while looks like a difference: start it twice before you believe a small one.
set -eu
target=${1:?give the target, as in: protocols.sh localhost:8001 lenet localhost:9001}
model=${2:?give the name of the model}
other=${3:-}
[ $# -gt 2 ] && shift 3 || shift 2
covey load "$target" --model "$model" --concurrency 16 --repeat 3 --json covey.json "$@"
covey load "$target" --protocol oip --model "$model" --concurrency 16 --repeat 3 --json oip.json "$@"
covey load compare --anyway covey.json oip.json
[ -n "$other" ] || exit 0
covey load "$other" --protocol oip --model "$model" --concurrency 16 --repeat 3 --json other.json "$@"
exec covey load compare --anyway oip.json other.json
