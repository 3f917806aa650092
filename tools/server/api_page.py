"""The OpenAPI page, `/docs`: Swagger UI from this machine. It loads nothing from elsewhere and needs no Internet."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

_FOLDER = files("fastapi_standalone_docs") / "static" / "swagger"
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>GadgetKeeper: the calls</title>
<link rel="icon" href="/console.svg">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<script src="/docs/swagger-ui-bundle.js" defer></script>
<script src="/docs/start.js" defer></script>
</head>
<body>
<main id="page"></main>
<noscript>The description itself: <a href="/openapi.json">openapi.json</a></noscript>
</body>
</html>
"""
_START = """\
SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null})
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("")
def page() -> Response:
    """The page."""
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


@router.get("/start.js")
def start() -> Response:
    """What shows the description on it."""
    return Response(_START, media_type="text/javascript", headers=_HEADERS)


@router.get("/swagger-ui-bundle.js")
def script() -> Response:
    """Swagger UI."""
    return _file("swagger-ui-bundle.js")


@router.get("/swagger-ui.css")
def style() -> Response:
    """What it looks like."""
    return _file("swagger-ui.css")


def _file(name: str) -> Response:
    return FileResponse(str(_FOLDER / name), headers=_HEADERS | {"Cache-Control": "public, max-age=86400"})
