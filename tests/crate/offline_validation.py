"""Validate a crate without a network: `python offline_validation.py CRATE CONTEXT CACHE`.

Runs with the packages of envs/crate-tests.txt. The validator asks w3id.org for the context of
RO-Crate 1.1; its cache is filled with the file CONTEXT first. Prints what it finds as JSON.
"""

import io
import json
import sys
from pathlib import Path

import requests
import urllib3
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity

ADDRESS = "https://w3id.org/ro/crate/1.1/context"
PROFILE = "workflow-run-crate-0.5"


class Given(requests.adapters.HTTPAdapter):
    """Answers every request with a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._content = file.read_bytes()

    def send(self, request, **options):
        """Return the file."""
        headers = {"Content-Type": "application/ld+json"}
        body = io.BytesIO(self._content)
        raw = urllib3.HTTPResponse(body, headers=headers, status=200, preload_content=False)
        return self.build_response(request, raw)


def main(crate: str, context: str, cache: str) -> None:
    """Print the issues, a list of check, severity and message."""
    with CachedSession(cache, backend="sqlite", expire_after=-1) as session:
        session.mount("https://", Given(Path(context)))
        session.get(ADDRESS)
    settings = services.ValidationSettings(
        rocrate_uri=crate,
        profile_identifier=PROFILE,
        requirement_severity=Severity.RECOMMENDED,
        offline=True,
        cache_path=Path(cache),
    )
    result = services.validate(settings)
    issues = [
        [issue.check.identifier, issue.severity.name, str(issue.message)]
        for issue in result.get_issues()
    ]
    print(json.dumps(issues))


if __name__ == "__main__":
    main(*sys.argv[1:])
