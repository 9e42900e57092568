#!/usr/bin/env bash
# Runs in the root of the repository, where snakemake was called.
set -euo pipefail
python -m pip install --requirement envs/requirements.txt
python -m pip install --no-deps --no-build-isolation .
