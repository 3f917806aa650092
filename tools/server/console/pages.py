"""The pages. Names and texts come from devices and vendors: the templates escape all of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from .. import fleet, history, plan, rollout_routes, rollouts, things, vendor
from ..access import Context, Ctx, Who, is_id, vendor_only
from ..errors import ApiError, describe, invalid, not_found
from ..model import Event, Property, Reading, Rollout, Template, Thing, Version, now_s
from ..schemas import EventView, MemberView, NewRollout, RolloutView, Stage, Text, ThingView, time_of
from . import forms, pictures

_FOLDER = Path(__file__).parent
_PAGE = 50
_EVENTS = 100
_DAYS = 30
_CHARTS_MAX = 3
_COUNT_MAX = 10_000
_MEMBERS = 8
_ERROR_TITLES = {401: "Who are you?", 403: "Not allowed", 404: "Not found", 409: "Not as things are"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_STYLE = (_FOLDER / "console.css").read_bytes()
_ICON = (_FOLDER / "icon.svg").read_bytes()
_STYLE_VERSION = hashlib.sha256(_STYLE).hexdigest()[:12]

STATES = {
    "pending": "update pending",
    "current": "up to date",
    "failing": "failing",
    "silent": "silent",
    "pinned": "pinned",
}
"""What the list of things can be narrowed down to."""

_text = TypeAdapter(Text)


@dataclass(frozen=True)
class _Fleet:
    """A template's part of the first page."""

    name: str
    target: int | None
    picture: pictures.Fleet
    rollout: RolloutView | None


class _Page(APIRoute):
    """Answers errors as pages. What is unexpected goes on to who handles it for all."""

    def get_route_handler(self) -> Callable:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ApiError as error:
                return _error(error)
            except RequestValidationError as error:
                return _error(invalid(describe(error.errors())))

        return answer


open_router = APIRouter(include_in_schema=False)
router = APIRouter(prefix="/console", include_in_schema=False, route_class=_Page, dependencies=[Depends(vendor_only)])


@open_router.get("/")
def root() -> Response:
    """To the console, for who types the server's address into a browser."""
    return RedirectResponse("/console/")


@open_router.get("/console.css")
def style() -> Response:
    """What the pages look like. Its address changes with it."""
    return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=31536000, immutable"})


@open_router.get("/console.svg")
def icon() -> Response:
    """What stands on the browser's tab."""
    return Response(_ICON, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})


@router.get("")
def without_slash() -> Response:
    """To the console."""
    return RedirectResponse("/console/")


@router.get("/")
def overview(context: Ctx, who: Who) -> Response:
    """The fleet at a glance: versions over time, what is silent, what fails, what is being rolled out."""
    at = now_s()
    with context.database.reading() as session:
        pictured = []
        for template in session.scalars(select(Template).order_by(Template.name)):
            numbers = _numbers(session, template.id)
            counts = fleet.by_day(session, template.id, at, _DAYS)
            rollout = session.get(Rollout, template.rollout_id) if template.rollout_id else None
            pictured.append(
                _Fleet(
                    name=template.name,
                    target=numbers.get(template.target_version_id or ""),
                    picture=pictures.fleet(counts, numbers, at, _DAYS),
                    rollout=rollout_routes.view(session, rollout) if rollout else None,
                )
            )
        numbers_of = {
            state: fleet.how_many(session, _conditions(context, state, at), _COUNT_MAX)
            for state in ("silent", "failing")
        }
        events = _events(session, None, 8)
        total = sum(each.picture.total for each in pictured)
        return _page("overview.html", who, fleets=pictured, total=total, events=events, **numbers_of)


@router.get("/things")
def list_things(
    context: Ctx,
    who: Who,
    search: Annotated[str, Query(max_length=200)] = "",
    state: str = "",
    version: str = "",
    after: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Things by serial number, a page of them."""
    at = now_s()
    search = search.strip()
    is_odd = "\0" in search + after + version
    conditions = things.matching(search=search or None, version_id=version or None)
    with context.database.reading() as session:
        conditions += _conditions(context, state, at)
        found = [] if is_odd else things.page(session, conditions, after, _PAGE + 1)
        versions = session.execute(
            select(Version.id, Version.number, Template.name)
            .join(Template)
            .order_by(Template.name, Version.number.desc())
        ).all()
    has_more = len(found) > _PAGE
    found = found[:_PAGE]
    asked = {"search": search, "state": state, "version": version}
    asked = {name: value for name, value in asked.items() if value}
    following = urlencode(asked | {"after": found[-1].serialNumber}) if has_more else ""
    rows = [(each, _state(context, each, at)) for each in found]
    return _page(
        "things.html",
        who,
        rows=rows,
        search=search,
        state=state if state in STATES else "",
        version=version,
        versions=versions,
        states=STATES,
        first=urlencode(asked) if after else None,
        following=following,
    )


@router.get("/things/{thing_id}")
async def one_thing(context: Ctx, who: Who, thing_id: str) -> Response:
    """All about one thing."""
    token = await forms.token_for(context, who.require_vendor())
    return await run_in_threadpool(_one_thing, context, who, thing_id, token)


@router.post("/things/{thing_id}/pin")
async def pin(request: Request, context: Ctx, who: Who, thing_id: str) -> Response:
    """Pin a thing to a version, or let it follow its template again."""
    form = await forms.read(request, context, who.require_vendor())
    version_id = forms.text(form, "version")
    if version_id:
        await run_in_threadpool(vendor.pin, context, who, thing_id, version_id, bool(forms.text(form, "force")))
    else:
        await run_in_threadpool(vendor.unpin, context, who, thing_id)
    return _to(f"/console/things/{thing_id}")


@router.get("/versions")
async def versions(context: Ctx, who: Who) -> Response:
    """All versions, and the form that publishes one."""
    token = await forms.token_for(context, who.require_vendor())
    return await run_in_threadpool(_versions, context, who, token)


@router.post("/versions")
async def publish(request: Request, context: Ctx, who: Who) -> Response:
    """Take in a firmware file as a template's next version, when a device would take it."""
    form = await forms.read(request, context, who.require_vendor())
    template_id = forms.text(form, "template")
    try:
        description = _text.validate_python(forms.text(form, "description"))
    except ValidationError as error:
        raise invalid("description: " + describe(error.errors())) from None
    await run_in_threadpool(vendor.require_template_there, context, template_id)
    upload = await context.files.take_in(forms.chunks(form, "firmware"))
    try:
        version = await run_in_threadpool(vendor.add_version, context, who, template_id, description, upload)
    finally:
        upload.drop()
        await form.close()
    return _to(f"/console/rollouts/new?version={version.id}")


@router.get("/rollouts")
def list_rollouts(context: Ctx, who: Who) -> Response:
    """The newest rollouts."""
    with context.database.reading() as session:
        query = select(Rollout).order_by(Rollout.created_at.desc(), Rollout.id).limit(_PAGE)
        found = [rollout_routes.view(session, each) for each in session.scalars(query)]
        names = _template_names(session)
    return _page("rollouts.html", who, rollouts=found, names=names)


@router.get("/rollouts/new")
def new_rollout(context: Ctx, who: Who, version: str = "") -> Response:
    """The form that says how a version is to be rolled out."""
    with context.database.reading() as session:
        return _plan_page(session, who, _version(session, version), {})


@router.get("/rollouts/check")
async def check_rollout(request: Request, context: Ctx, who: Who) -> Response:
    """What a rollout would do, to be confirmed."""
    token = await forms.token_for(context, who.require_vendor())
    return await run_in_threadpool(_check_rollout, context, who, dict(request.query_params), token)


@router.post("/rollouts")
async def start_rollout(request: Request, context: Ctx, who: Who) -> Response:
    """Start what was confirmed."""
    form = await forms.read(request, context, who.require_vendor())
    given = {name: forms.text(form, name) for name in form}
    try:
        new = _plan(given)
    except ValueError as error:
        raise invalid(_problem(error)) from None
    template_id, force = given.get("template", ""), bool(given.get("force"))
    started = await run_in_threadpool(rollout_routes.start_rollout, context, who, template_id, new, force)
    return _to(f"/console/rollouts/{started.id}")


@router.get("/rollouts/{rollout_id}")
async def one_rollout(context: Ctx, who: Who, rollout_id: str) -> Response:
    """How a rollout goes."""
    token = await forms.token_for(context, who.require_vendor())
    return await run_in_threadpool(_one_rollout, context, who, rollout_id, token, "rollout.html")


@router.get("/rollouts/{rollout_id}/cancel")
async def check_cancel(context: Ctx, who: Who, rollout_id: str) -> Response:
    """What cancelling a rollout would do, to be confirmed."""
    token = await forms.token_for(context, who.require_vendor())
    return await run_in_threadpool(_one_rollout, context, who, rollout_id, token, "cancel.html")


@router.post("/rollouts/{rollout_id}/{action}")
async def change_rollout(request: Request, context: Ctx, who: Who, rollout_id: str, action: str) -> Response:
    """Pause, resume or cancel a rollout."""
    form = await forms.read(request, context, who.require_vendor())
    await run_in_threadpool(_change_rollout, context, who, rollout_id, action, forms.text(form, "reason"))
    return _to(f"/console/rollouts/{rollout_id}")


@router.get("/events")
def events(
    context: Ctx, who: Who, subject: Annotated[str, Query(max_length=200)] = "", before: int | None = None
) -> Response:
    """What has been done, newest first."""
    subject = subject.strip()
    with context.database.reading() as session:
        query = select(Event).order_by(Event.id.desc()).limit(_EVENTS + 1)
        if subject:
            query = query.where(Event.subject == subject.replace("\0", ""))
        if before is not None:
            query = query.where(Event.id < min(before, 2**62))
        rows = list(session.scalars(query))
        found = [EventView.of(each) for each in rows[:_EVENTS]]
        asked = {"subject": subject} if subject else {}
        following = urlencode(asked | {"before": rows[_EVENTS - 1].id}) if len(rows) > _EVENTS else ""
    return _page("events.html", who, events=found, subject=subject, following=following)


def _one_thing(context: Context, who: Who, thing_id: str, token: str) -> Response:
    at = now_s()
    with context.database.reading() as session:
        thing = who.require_thing(session, thing_id)
        seen = things.view(session, thing)
        numbers = _numbers(session, thing.template_id)
        pinned = numbers.get(thing.pinned_version_id or "")
        kept = select(Property.property_id, Property.value_json, Property.written_at)
        properties = session.execute(kept.where(Property.thing_id == thing_id).order_by(Property.property_id)).all()
        charted = session.scalars(
            select(Reading.property_id).where(Reading.thing_id == thing_id).distinct().limit(_CHARTS_MAX)
        ).all()
        charts = [
            (
                name,
                pictures.line(
                    history.readings(session, context.settings, thing_id, name), context.settings.history_interval_s
                ),
            )
            for name in sorted(charted)
        ]
        reports = list(reversed(history.reports(session, thing_id)))
        events = _events(session, thing.serial, 20)
        template_name = thing.template.name
    return _page(
        "thing.html",
        who,
        thing=seen,
        state=_state(context, seen, at),
        template_name=template_name,
        numbers=dict(sorted(numbers.items(), key=lambda each: -each[1])),
        pinned=pinned,
        properties=properties,
        charts=[(name, chart) for name, chart in charts if chart],
        reports=reports,
        events=events,
        token=token,
    )


def _versions(context: Context, who: Who, token: str) -> Response:
    with context.database.reading() as session:
        templates = session.scalars(select(Template).order_by(Template.name)).all()
        listed = [
            (
                template,
                session.scalars(
                    select(Version).where(Version.template_id == template.id).order_by(Version.number.desc())
                ).all(),
            )
            for template in templates
        ]
        return _page("versions.html", who, templates=listed, token=token)


def _plan_page(session: Session, who: Who, version: Version, given: dict[str, str], problem: str = "") -> Response:
    template = session.get_one(Template, version.template_id)
    defaults = NewRollout(versionId=version.id)
    shown = {
        "canaries": "",
        "stages": plan.stages_text(defaults.plan()),
        "pause_above": f"{defaults.failedShareMaxPercent:g}",
        "count_min": str(defaults.countMin),
        "silent_after": plan.time_text(defaults.silentAfterS),
        "force": "",
    }
    running = session.get(Rollout, template.rollout_id) if template.rollout_id else None
    target = template.target_version
    return _page(
        "plan.html",
        who,
        status=400 if problem else 200,
        version=version,
        template=template,
        target=target,
        needs_force=bool(target and target.is_signed and not version.is_signed),
        running=running,
        given=shown | given,
        problem=problem,
    )


def _check_rollout(context: Context, who: Who, given: dict[str, str], token: str) -> Response:
    with context.database.reading() as session:
        version = _version(session, given.get("version", ""))
        try:
            new = _plan(given)
        except ValueError as error:
            return _plan_page(session, who, version, given, _problem(error))
        template = session.get_one(Template, version.template_id)
        total = fleet.by_day(session, template.id, now_s(), _DAYS)[-1].total
        return _page(
            "check.html",
            who,
            version=version,
            template=template,
            target=template.target_version,
            new=new,
            stages=new.plan(),
            total=total,
            token=token,
            given={
                "template": template.id,
                "version": version.id,
                "canaries": " ".join(new.canaries),
                "stages": plan.stages_text(new.plan()),
                "pause_above": f"{new.failedShareMaxPercent:g}",
                "count_min": str(new.countMin),
                "silent_after": plan.time_text(new.silentAfterS),
                "force": given.get("force", ""),
            },
        )


def _one_rollout(context: Context, who: Who, rollout_id: str, token: str, page: str) -> Response:
    at = now_s()
    with context.database.reading() as session:
        rollout = rollouts.get(session, rollout_id)
        shown: RolloutView = rollout_routes.view(session, rollout)
        template = session.get_one(Template, rollout.template_id)
        target = template.target_version
        bad = []
        for outcome in (rollouts.FAILED, rollouts.SILENT):
            members = rollouts.members(session, rollout, outcome, at, "", _MEMBERS)
            named = select(Thing.serial, Thing.id).where(Thing.serial.in_([each.serial for each in members]))
            ids = dict(session.execute(named).all())
            bad += [(MemberView.of(each, outcome), ids.get(each.serial)) for each in members]
        return _page(
            page,
            who,
            rollout=shown,
            template=template,
            target=target,
            bad=bad,
            next_at=time_of(rollout.stage_since + rollout.stages[rollout.stage].duration_s),
            events=_events(session, rollout.id, 20),
            token=token,
        )


def _change_rollout(context: Context, who: Who, rollout_id: str, action: str, reason: str) -> None:
    try:
        reason = _text.validate_python(reason)
    except ValidationError as error:
        raise invalid("reason: " + describe(error.errors())) from None
    with context.database.writing() as session:
        if action == "pause":
            rollouts.pause(session, who, rollout_id, reason)
        elif action == "resume":
            rollouts.resume(session, who, rollout_id, now_s())
        elif action == "cancel":
            rollouts.cancel(session, who, rollout_id, reason)
        else:
            raise not_found("There is no such action")


def _plan(given: dict[str, str]) -> NewRollout:
    """The plan that a form's fields mean. ValueError says what is wrong with it."""
    return NewRollout(
        versionId=given.get("version", ""),
        canaries=plan.listed(given.get("canaries", "")),
        stages=[Stage(**each) for each in plan.stages(given.get("stages", ""))],
        failedShareMaxPercent=plan.percent(given.get("pause_above", "")),
        countMin=plan.count(given.get("count_min", "")),
        silentAfterS=plan.time_s(given.get("silent_after", "")),
    )


def _problem(error: ValueError) -> str:
    return describe(error.errors()).replace("Value error, ", "") if isinstance(error, ValidationError) else str(error)


def _conditions(context: Context, state: str, at: int) -> list:
    if state == "silent":
        return things.matching(seen_before=at - context.settings.silent_after_s)
    if state == "failing":
        # Not those that are where they should be: what failed there is past.
        return [Thing.failed_at.is_not(None), *things.matching(status="update pending")]
    if state == "pinned":
        return [Thing.pinned_version_id.is_not(None)]
    return things.matching(status=STATES[state]) if state in ("pending", "current") else []


def _state(context: Context, thing: ThingView, at: int) -> str:
    if thing.failedAt and thing.status == "update pending":
        return "failing"
    last_seen = datetime.fromisoformat(thing.lastSeen).timestamp() if thing.lastSeen else 0
    if last_seen < at - context.settings.silent_after_s:
        return "silent"
    return thing.status


def _version(session: Session, version_id: str) -> Version:
    version = session.get(Version, version_id) if is_id(version_id) else None
    if version is None:
        raise not_found("There is no such version: choose one under Versions")
    return version


def _numbers(session: Session, template_id: str) -> dict[str, int]:
    """The numbers of a template's versions, by Id."""
    query = select(Version.id, Version.number).where(Version.template_id == template_id)
    return dict(session.execute(query.order_by(Version.number)).all())


def _template_names(session: Session) -> dict[str, str]:
    return dict(session.execute(select(Template.id, Template.name)).all())


def _events(session: Session, subject: str | None, limit: int) -> list[EventView]:
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if subject is not None:
        query = query.where(Event.subject == subject)
    return [EventView.of(event) for event in session.scalars(query)]


def _to(path: str) -> Response:
    """Let the browser ask for a page: reloading it sends no form again."""
    return RedirectResponse(path, 303)


def _error(error: ApiError) -> Response:
    title = _ERROR_TITLES.get(error.status, "That did not work")
    page = _page("error.html", None, status=error.status, title=title, message=error.message)
    page.headers.update(error.headers or {})
    return page


def _page(name: str, who: Who | None, status: int = 200, **values: Any) -> Response:
    body = _templates.get_template(name).render(
        style=f"/console.css?{_STYLE_VERSION}", vendor=who and who.vendor, now=now_s(), **values
    )
    return HTMLResponse(body, status, _HEADERS)


def _ago(at: str | int | None, now: int) -> str:
    """How long ago a time was, in words."""
    if at is None:
        return "never"
    at_s = at if isinstance(at, int) else datetime.fromisoformat(at).timestamp()
    seconds = max(0, int(now - at_s))
    for unit_s, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit_s:
            number = seconds // unit_s
            return f"{number} {unit}{'s' * (number != 1)} ago"
    return "just now"


def _when(at: str | int) -> str:
    """A time to the minute, UTC."""
    moment = datetime.fromtimestamp(at, UTC) if isinstance(at, int) else datetime.fromisoformat(at)
    return moment.strftime("%Y-%m-%d %H:%M")


def _length(seconds: int) -> str:
    """A length of time in words, in the biggest unit that makes it whole."""
    units = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
    text = plan.time_text(seconds)
    return f"{text[:-1]} {units[text[-1]]}{'s' * (text[:-1] != '1')}"


def _grouped(number: int) -> str:
    """A number with its digits in groups of three."""
    return f"{number:,}".replace(",", "\u202f")


_templates = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"ago": _ago, "when": _when, "grouped": _grouped, "duration": _length}
