#!/bin/sh
# Trains and publishes what the models folder lacks, and is done at once where nothing is missing.
#   COVEY_NETWORKS  networks of `covey-export list`, separated by spaces
#   COVEY_DATASET   the data set they learn; empty: each its own
set -eu
for network in ${COVEY_NETWORKS:-lenet}; do
  if ls "/models/$network"/*/model.onnx >/dev/null 2>&1; then
    echo "export: /models/$network is there"
    continue
  fi
  if ! [ -w /models ]; then
    echo "export: cannot write to /models as uid $(id -u); it belongs to uid $(stat -c %u /models)." \
      "Give it away: docker run --rm -u 0 -v VOLUME:/models IMAGE chown -R $(id -u) /models" >&2
    exit 2
  fi
  covey-export all "$network" ${COVEY_DATASET:+--dataset "$COVEY_DATASET"} --models /models --checkpoints /checkpoints
done
