#!/usr/bin/env bash
# Snakemake runs this in the new environment. The workflow sets PARAFOVEA_SOURCE to its repository;
# where it came with the installed package, the same version is taken from the package index.
set -euo pipefail
python -m pip install --no-deps "${PARAFOVEA_SOURCE:-parafovea==0.1.0}"
