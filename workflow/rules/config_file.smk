import sys

from parafovea.errors import ParafoveaError, describe
from parafovea.runtime.optional_packages import RUN, require_extras

try:
    require_extras({RUN: "the workflow"})
except ParafoveaError as error:
    sys.exit(f"Nothing was run. {describe(error)}")

from parafovea.config.loading import DEFAULT_CONFIG, read_document

# Before Snakemake reads the file, which stops at a damaged one with a message of its library.
if DEFAULT_CONFIG.exists() and not workflow.modifier.skip_configfile:
    try:
        read_document(DEFAULT_CONFIG)
    except ParafoveaError as error:
        sys.exit(f"Nothing was run. {describe(error)}")
