"""Filters over tasks: query parameters of a list, bodies of a bulk action, page tokens."""

from collections.abc import Mapping, Sequence

import msgspec

from mainspring.core.model import State
from mainspring.errors import InvalidInput
from mainspring.ports import Query
from mainspring.wire import fields, pages
from mainspring.wire.bounds import BOUNDS, Bounds
from mainspring.wire.strict import Shape

LABEL_ACCEPTED = "NAME=VALUE"


class FilterIn(msgspec.Struct, forbid_unknown_fields=True):
    """Which tasks a bulk action is for. An empty filter is refused unless `all` is true."""

    state: str | list[str] | None = None
    queue: str | None = None
    kind: str | None = None
    tenant: str | None = None
    label: str | None = None
    workflow: str | None = None
    all: bool = False


FILTER = Shape(FilterIn)


def read_filter(body: bytes) -> Query:
    """A bulk action's filter. Raises `InvalidInput`, for an empty one too: a forgotten filter must not
    be read as everything."""
    return filter_query(FILTER.read(body) if body else FilterIn())


def filter_query(given: FilterIn) -> Query:
    """As `read_filter`, of a filter that has been read."""
    wanted = [given.state] if isinstance(given.state, str) else given.state or []
    query = Query(
        _states(wanted),
        None if given.queue is None else fields.name(given.queue, "queue"),
        None if given.kind is None else fields.name(given.kind, "kind"),
        None if given.tenant is None else fields.key(given.tenant, "tenant"),
        None if given.label is None else read_label(given.label),
        workflow=None if given.workflow is None else _workflow(given.workflow),
    )
    if query == Query() and not given.all:
        raise InvalidInput("body", "an empty filter", "a filter, or all=true for every task")
    return query


def read_query(parameters: Mapping[str, str], bounds: Bounds = BOUNDS) -> Query:
    """A list's query parameters: state (may be several, by commas), queue, kind, tenant, label, workflow,
    fingerprint, page_size, page_token. Raises `InvalidInput` naming the parameter."""
    get = parameters.get
    queue, kind, tenant, label, token = map(get, ("queue", "kind", "tenant", "label", "page_token"))
    workflow, fingerprint = get("workflow"), get("fingerprint")
    query = Query(
        _states(parameters["state"].split(",") if "state" in parameters else ()),
        None if queue is None else fields.name(queue, "queue"),
        None if kind is None else fields.name(kind, "kind"),
        None if tenant is None else fields.key(tenant, "tenant"),
        None if label is None else read_label(label),
        pages.page_size(get("page_size"), bounds),
        workflow=None if workflow is None else _workflow(workflow),
        fingerprint=None if fingerprint is None else fields.fingerprint(fingerprint, "fingerprint"),
    )
    if token is not None:
        query.cursor = pages.unseal(token, _filter_text(query))
    return query


def page_token(query: Query, cursor: str) -> str:
    """Opaque to callers: where to go on, and for which filter that holds."""
    return pages.seal(cursor, _filter_text(query))


def _filter_text(query: Query) -> str:
    chosen = (query.queue, query.kind, query.tenant, query.label, query.workflow, query.fingerprint)
    return repr((sorted(query.states), *chosen))


def _workflow(text: str) -> str:
    if not fields.is_id(text):
        raise InvalidInput("workflow", f"not a workflow's id: {text[:40]!r}", fields.ID_ACCEPTED)
    return text


def _states(names: Sequence[str]) -> frozenset[State]:
    return frozenset[State]().union(*(fields.states(name) for name in names))


def read_label(text: str) -> tuple[str, str]:
    label, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput("label", f"not a label: {text[:40]!r}", LABEL_ACCEPTED)
    return fields.name(label, "label"), value
