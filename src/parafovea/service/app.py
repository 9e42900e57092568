"""The service as an ASGI application: uploads, jobs, their progress and their results.

``uvicorn parafovea.service.app:app`` serves it with settings from the environment, ``parafovea
serve`` with options as well. What is predicted, and how, is that of `parafovea predict`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from parafovea import __version__
from parafovea.config import config_files, read_settings
from parafovea.errors import ConfigError
from parafovea.service import fact_routes, job_routes, result_routes, stream_routes, web_page
from parafovea.service.access_guard import AccessGuard
from parafovea.service.error_places import QuietErrors
from parafovea.service.inference_service import Service, storage_refusal
from parafovea.service.keys import Keys, read_keys
from parafovea.service.refusal import Refusal
from parafovea.service.service_settings import KEYS_VARIABLE, ServiceSettings


def create_app(settings: ServiceSettings | None = None, keys: Keys | None = None) -> FastAPI:
    """Return the service.

    Parameters
    ----------
    settings : ServiceSettings, optional
        By default those of the environment.
    keys : Keys, optional
        By default those of `keys_file` and of the environment.

    Raises
    ------
    ConfigError
        If the settings, the config or the keys are invalid.
    """
    settings = ServiceSettings.from_environment() if settings is None else settings
    if keys is None:
        keys = read_keys(settings.keys_file, os.environ.get(KEYS_VARIABLE, ""))
    config = read_settings(*config_files(list(settings.config)))
    if settings.task not in config.tasks:
        raise ConfigError(
            f"task {settings.task!r} is not in the config: choose one of "
            f"{', '.join(config.tasks)} with --task"
        )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = Service(settings, config)
        app.state.service = service
        service.workers.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.workers.stop)
            service.queue.close()

    app = FastAPI(
        title="Parafovea",
        version=__version__,
        description="Uploads of scans and tiles, their prediction, and its results. "
        "Not a medical device.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    # what is added later is called earlier
    app.add_middleware(QuietErrors)
    app.add_middleware(AccessGuard, keys=keys, origins=settings.origins)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/").lower() for origin in settings.origins],
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
        )
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OSError, _not_stored)
    for routes in (job_routes, result_routes, stream_routes, fact_routes, web_page):
        app.include_router(routes.router)
    return app


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101  (registered for it)
    return JSONResponse({"detail": error.detail}, int(error.status), headers=error.headers)


def _not_stored(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)  # noqa: S101  (registered for it)
    return _refused(request, storage_refusal(error))


def _invalid(request: Request, error: Exception) -> Response:
    # what the client sent is not repeated
    return JSONResponse(
        {"detail": "the address of the request is invalid: see /openapi.json"},
        int(HTTPStatus.UNPROCESSABLE_ENTITY),
    )


def __getattr__(name: str) -> Any:
    """Make the application of the environment when a server asks for it."""
    if name == "app":
        found = globals()["app"] = create_app()
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
