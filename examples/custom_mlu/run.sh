#!/usr/bin/env bash
# Compiles the model with its op, runs it on the CPU and on a simulated chip, predicts its time. From a checkout, after
# scripts/build; what it writes goes to a temporary folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$here/../../build/bin:$PATH
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$here"

say() { printf '\n$ %s\n' "$*"; "$@"; }

say tenon compile model.onnx --custom-ops row_norm.mlu -o "$out/model.tenon"
say tenon run "$out/model.tenon" --input x=x.npy
say tenon run "$out/model.tenon" --device mlu370-s4 --precision fp32 --input x=x.npy
say tenon predict "$out/model.tenon" --target mlu370-s4 --batch 1,20
# On another family of chips the host computes the op.
say tenon run "$out/model.tenon" --device ascend310p3 --input x=x.npy
