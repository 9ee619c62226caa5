#!/usr/bin/env bash
# Builds the device, tests it, runs a model on it. From a checkout, after scripts/build; what it writes goes to a
# temporary folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$here/../../build
export PATH=$build/bin:$PATH
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$here"

say() { printf '\n$ %s\n' "$*"; "$@"; }

say g++ -std=c++17 -O2 -fPIC -shared -fvisibility=hidden -I../../include neighbour_device.cpp \
  -o "$out/libtenon_device_neighbour.so" -L"$build/lib" -ltenon_runtime -Wl,-rpath,"$build/lib"
say tenon device-test "$out/libtenon_device_neighbour.so" --device neighbour --list neighbour.list
export TENON_DEVICE_PATH=$out
say tenon devices
say tenon compile ../digits/saved_model -o "$out/digits.tenon"
say tenon run "$out/digits.tenon" --device neighbour --input images=../digits/digits.npy
