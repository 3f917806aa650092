"""The vendor's calls for rollouts."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from . import rollouts
from .access import Ctx, Who, accepts, is_id, json_body, vendor_only
from .model import Rollout, now_s
from .schemas import MemberView, NewRollout, RolloutEnd, RolloutView
from .vendor import Force, require_signed, require_template

router = APIRouter(prefix="/v1", tags=["vendor"], dependencies=[Depends(vendor_only)])


@router.post("/templates/{template_id}/rollouts.json", openapi_extra=accepts(NewRollout))
def start_rollout(
    context: Ctx, who: Who, template_id: str, new: Annotated[NewRollout, json_body(NewRollout)], force: Force = False
) -> RolloutView:
    """Roll a version out. 409 when the template has a rollout already, or for an unsigned version after a signed
    target."""
    with context.database.writing() as session:
        template = require_template(session, template_id, lock=True)
        rollout = rollouts.start(session, who, template, new, now_s())
        require_signed(session, template, rollout.version, force)
        return view(session, rollout)


@router.get("/rollouts.json")
def list_rollouts(
    context: Ctx,
    template: Annotated[str | None, Query(description="Id of the template")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[RolloutView]:
    """Rollouts, newest first."""
    query = select(Rollout).order_by(Rollout.created_at.desc(), Rollout.id).limit(limit)
    if template is not None:
        if not is_id(template):
            return []
        query = query.where(Rollout.template_id == template)
    with context.database.reading() as session:
        return [view(session, rollout) for rollout in session.scalars(query)]


@router.get("/rollouts/{rollout_id}.json")
def get_rollout(context: Ctx, rollout_id: str) -> RolloutView:
    """A rollout, and how its things are."""
    with context.database.reading() as session:
        return view(session, rollouts.get(session, rollout_id))


@router.get("/rollouts/{rollout_id}/members.json")
def rollout_members(
    context: Ctx,
    rollout_id: str,
    outcome: Literal["confirmed", "failed", "silent", "open"],
    after: Annotated[str, Query(description="begin behind this serial number")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[MemberView]:
    """The things that have been told the version and are so, by serial number."""
    with context.database.reading() as session:
        rollout = rollouts.get(session, rollout_id)
        found = [] if "\0" in after else rollouts.members(session, rollout, outcome, now_s(), after, limit)
        return [MemberView.of(each, outcome) for each in found]


@router.put("/rollouts/{rollout_id}/pause.json", openapi_extra=accepts(RolloutEnd))
def pause_rollout(
    context: Ctx, who: Who, rollout_id: str, end: Annotated[RolloutEnd, json_body(RolloutEnd)]
) -> RolloutView:
    """Tell nobody else the version. Things that were told it keep it."""
    with context.database.writing() as session:
        return view(session, rollouts.pause(session, who, rollout_id, end.reason))


@router.put("/rollouts/{rollout_id}/resume.json")
def resume_rollout(context: Ctx, who: Who, rollout_id: str) -> RolloutView:
    """Go on. The stage begins anew; what failed or fell silent until now is accepted."""
    with context.database.writing() as session:
        return view(session, rollouts.resume(session, who, rollout_id, now_s()))


@router.put("/rollouts/{rollout_id}/cancel.json", openapi_extra=accepts(RolloutEnd))
def cancel_rollout(
    context: Ctx, who: Who, rollout_id: str, end: Annotated[RolloutEnd, json_body(RolloutEnd)]
) -> RolloutView:
    """End it: all of the template's things follow its target again, also those that run the version."""
    with context.database.writing() as session:
        return view(session, rollouts.cancel(session, who, rollout_id, end.reason))


def view(session: Session, rollout: Rollout) -> RolloutView:
    """The rollout as it is now."""
    at = now_s()
    progress = rollouts.progress(session, rollout, at)
    waits_for = rollouts.waits_for(session, rollout, progress, at) if rollout.state == rollouts.RUNNING else ""
    return RolloutView.of(rollout, progress, waits_for)
