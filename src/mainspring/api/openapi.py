"""The OpenAPI 3.1 document, made from the route table and the very shapes that read and write the bodies."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mainspring import __version__
from mainspring.api.routes import TEXTS, Route
from mainspring.wire.problems import CONTENT_TYPE, Problem

_REF = "#/components/schemas/{name}"
_HEADER_TEXT = {
    "Idempotency-Key": "Repeating a call under its key gives the first answer again, for 24 hours.",
    "If-Match": "Only if it is still at this ETag; otherwise 412.",
    "Last-Event-ID": "The id of the last event that was read: go on behind it.",
    "Accept": "text/event-stream follows the log; application/json and text/plain read what there is.",
    "If-None-Match": "Not if it is at this ETag, or there at all (`*`): a read is 304 then, a write 412.",
}


def document(routes: Iterable[Route]) -> bytes:
    """JSON text. Statuses that are not listed are problem documents (`default`)."""
    routes = tuple(routes)
    shapes: dict[Any, None] = {Problem: None}
    for route in routes:
        for shape in (route.takes, *(shape for given in route.gives.values() for shape in _each(given))):
            if isinstance(shape, type):
                shapes[shape] = None
    _, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path.replace(":path", ""), {})[route.method.lower()] = _operation(route)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Mainspring",
                "version": __version__,
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{}, {"token": []}],
        }
    )


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.path.removeprefix("/api/v1").split("/")[1]],
        "parameters": _parameters(route),
        "responses": {str(status): _response(shape) for status, shape in route.gives.items()},
    }
    problem = {"schema": _schema(Problem)}
    operation["responses"]["default"] = {"description": "A problem", "content": {CONTENT_TYPE: problem}}
    if route.takes is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": _schema(route.takes)}}}
    if route.is_open:
        operation["security"] = []
    return operation


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path.replace("/api/v1", "").replace(":path", ""))
    return "_".join([route.method.lower(), *words])


def _parameters(route: Route) -> list[Mapping[str, Any]]:
    captured = [(name, "path", "", True) for name in re.findall(r"\{(\w+)", route.path)]
    query = [(name, "query", text, False) for name, text in route.query.items()]
    headers = [(name, "header", _HEADER_TEXT[name], False) for name in route.headers]
    return [
        {"name": name, "in": place, "description": text, "required": required, "schema": {"type": "string"}}
        for name, place, text, required in (*captured, *query, *headers)
    ]


def _each(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)


def _response(given: Any) -> dict[str, Any]:
    """`given` is a shape or a media type of text, or several for the caller to choose from."""
    if given is None:
        return {"description": "Done"}
    content: dict[str, Any] = {}
    for shape in _each(given):
        if shape in TEXTS:
            content[shape] = {"schema": {"type": "string"}}
        else:
            content["application/json"] = {"schema": _schema(shape)}
    return {"description": "Done", "content": content}


def _schema(shape: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=shape.__name__)}
