#!/usr/bin/env bash
# Compiles resnet_tiny with the command line that users of the chip know, then runs the snippet of infer.py.
# Needs a build: scripts/setup && scripts/build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
build=${TENON_BUILD:-$PWD/../../build}
export PATH=$build/bin:$PATH PYTHONPATH=$build/python${PYTHONPATH:+:$PYTHONPATH}

cambricon_model_compiler --model_type=tensorflow --input_saved_model_dir=resnet_tiny --output_model=model.cambricon --precision=fp32 --input_shapes=[1,224,224,3]
"${PYTHON:-../../.venv/bin/python}" infer.py
