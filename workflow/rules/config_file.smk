import sys

from parafovea.config.loading import DEFAULT_CONFIG, read_document
from parafovea.errors import ParafoveaError, describe

# Before Snakemake reads the file, which stops at a damaged one with a message of its library.
if DEFAULT_CONFIG.exists() and not workflow.modifier.skip_configfile:
    try:
        read_document(DEFAULT_CONFIG)
    except ParafoveaError as error:
        sys.exit(f"Nothing was run. {describe(error)}")
