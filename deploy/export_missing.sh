#!/bin/sh
# Trains and publishes what the models folder lacks, and is done at once where nothing is missing.
#   COVEY_NETWORKS  networks of `covey-export list`, separated by spaces
#   COVEY_DATASET   the data set they learn; empty: each its own
#   COVEY_MODELS, COVEY_CHECKPOINTS  the folders; the image's mount points unless told otherwise
set -eu
models=${COVEY_MODELS:-/models}
checkpoints=${COVEY_CHECKPOINTS:-/checkpoints}
for network in ${COVEY_NETWORKS:-lenet}; do
  model=$models/$(printf %s "$network" | tr : -) # as covey-export names the model of torchvision:resnet18
  if ls "$model"/*/model.onnx >/dev/null 2>&1; then
    echo "export: $model is there"
    continue
  fi
  if ! [ -w "$models" ]; then
    echo "export: cannot write to $models as uid $(id -u); it belongs to uid $(stat -c %u "$models")." \
      "Give it away: docker run --rm -u 0 -v VOLUME:/models IMAGE chown -R $(id -u) /models" >&2
    exit 2
  fi
  covey-export all "$network" ${COVEY_DATASET:+--dataset "$COVEY_DATASET"} \
    --models "$models" --checkpoints "$checkpoints"
done
