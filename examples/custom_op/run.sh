#!/usr/bin/env bash
# Builds the custom op, compiles the SavedModel that uses it, runs it three ways. From a checkout, after
# scripts/build; what it writes goes to a temporary folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$here/../../build/bin:$PATH
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$here"

say() { printf '\n$ %s\n' "$*"; "$@"; }

say g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I../../include soft_shrink_pair.cpp -o "$out/libsoft_shrink_pair.so"
say g++ -std=c++17 -g -DTENON_OP_TEST -I../../include soft_shrink_pair.cpp -o "$out/soft_shrink_pair_test"
say "$out/soft_shrink_pair_test"
say tenon compile saved_model --custom-ops "$out/libsoft_shrink_pair.so" -o "$out/model.tenon"
say tenon run "$out/model.tenon" --custom-ops "$out/libsoft_shrink_pair.so" --input x=x.npy
say tenon compile saved_model --custom-ops "$out/libsoft_shrink_pair.so" --embed-custom-ops -o "$out/embedded.tenon"
say tenon run "$out/embedded.tenon" --allow-embedded-code --input x=x.npy
say tenon compile saved_model --custom-ops soft_shrink_pair.tn -o "$out/decomposed.tenon"
say tenon run "$out/decomposed.tenon" --input x=x.npy
