"""The application: its parts put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from . import device, errors, jobs, operations, rollout_routes, vendor
from .access import Context
from .console import pages
from .database import THREADS
from .schemas import ErrorView

_DESCRIPTION = """\
The calls of a device, of its owner and of its vendor. A device has an API key (`X-ApiKey`), which opens its own thing;
a vendor has a name and a password (HTTP Basic). Every error is `{"code": "GK-000-000n", "message": "..."}`.
"""
_KEY = {"type": "apiKey", "in": "header", "name": "X-ApiKey"}
_BASIC = {"type": "http", "scheme": "basic"}
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "device": [{"ApiKey": []}, {"Vendor": []}],
    "vendor": [{"Vendor": []}],
}
_OPEN = ("/v1/things/activate/{serial}.json", "/health")


def create_app(context: Context) -> FastAPI:
    """The GadgetKeeper server as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        running = asyncio.create_task(jobs.run_all(context))
        yield
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await context.database.leave_loop()

    app = FastAPI(
        title="GadgetKeeper",
        version="1",
        description=_DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.context = context
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    errors.install(app)
    for part in (device, vendor, rollout_routes, operations, pages):
        app.include_router(part.router)
    app.include_router(pages.open_router)
    app.add_middleware(operations.Counting)  # type: ignore[arg-type]
    return app


def _openapi(app: FastAPI) -> dict:
    """FastAPI's description, with what it does not know: our errors, and who may make which call."""
    if app.openapi_schema:
        return app.openapi_schema
    made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = made.setdefault("components", {})
    components["securitySchemes"] = {"ApiKey": _KEY, "Vendor": _BASIC}
    schemas = components.setdefault("schemas", {})
    schemas["ErrorView"] = ErrorView.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    error = {"description": "An error", "content": {"application/json": {"schema": _ref("ErrorView")}}}
    for path, operations_of_path in made["paths"].items():
        for operation in operations_of_path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = error
            if path not in _OPEN:
                operation["security"] = _SECURITY.get(operation["tags"][0], [{"Vendor": []}])
    app.openapi_schema = made
    return made


def _ref(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}
