"""Rollouts: a version goes to canaries, then to a growing share of the things, and stops by itself when they fail or
fall silent. Times are given by the caller."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from .access import Caller, is_id, record, version_of
from .database import Database
from .errors import conflict, invalid, not_found, printable
from .model import BUCKETS, Rollout, RolloutMember, RolloutStage, Template, Thing, Version, new_id
from .plan import time_text
from .schemas import NewRollout

CONFIRMED, FAILED = "confirmed", "failed"
SILENT, OPEN = "silent", "open"
OUTCOMES = (CONFIRMED, FAILED, SILENT, OPEN)
"""How a member is: it has confirmed the version, it has failed at it, it was told long ago and has said neither, or it
was told just now. Only the first two are stored."""

RUNNING, PAUSED, DONE, CANCELLED = "running", "paused", "done", "cancelled"

_SERVER = Caller("server", None, "")
_PERCENT = BUCKETS // 100
_NAMED_AT_MOST = 10

# SQLite and PostgreSQL share this syntax, SQLAlchemy's builders do not. A thing that runs the version already has
# nothing left to confirm.
_TELL = text(
    "INSERT INTO rollout_members (rollout_id, serial, is_canary, told_at, outcome, outcome_at) "
    "SELECT rollouts.id, things.serial, FALSE, :at, "
    "CASE WHEN things.current_version_id = rollouts.version_id THEN 'confirmed' END, "
    "CASE WHEN things.current_version_id = rollouts.version_id THEN :at END "
    "FROM things JOIN rollouts ON rollouts.id = :rollout WHERE things.id = :thing "
    "ON CONFLICT (rollout_id, serial) DO UPDATE SET told_at = coalesce(rollout_members.told_at, excluded.told_at), "
    "outcome = coalesce(rollout_members.outcome, excluded.outcome), "
    "outcome_at = coalesce(rollout_members.outcome_at, excluded.outcome_at)"
)
_MEMBER_OF = (
    "WHERE serial = (SELECT serial FROM things WHERE id = :thing) AND rollout_id = ("
    "SELECT rollouts.id FROM things JOIN templates ON templates.id = things.template_id "
    "JOIN rollouts ON rollouts.id = templates.rollout_id "
)
_HEARD = text(
    "UPDATE rollout_members SET outcome = :outcome, outcome_at = :at, told_at = coalesce(told_at, :at) "
    + _MEMBER_OF
    + "WHERE things.id = :thing AND rollouts.version_id = :version)"
)
_WENT_BACK = text(
    "UPDATE rollout_members SET outcome = 'failed', outcome_at = :at "
    + _MEMBER_OF
    + "WHERE things.id = :thing AND rollouts.version_id != :version AND things.pinned_version_id IS NULL)"
    " AND outcome = 'confirmed'"
)


@dataclass(frozen=True)
class Progress:
    """How many members are how."""

    confirmed: int = 0
    failed: int = 0
    silent: int = 0
    open: int = 0

    @property
    def told(self) -> int:
        """All of them."""
        return self.confirmed + self.failed + self.silent + self.open

    @property
    def decided(self) -> int:
        """Those of which it is known, or time enough has passed."""
        return self.confirmed + self.failed + self.silent

    @property
    def bad_share(self) -> float:
        """The share of the decided that failed or are silent, in BUCKETS."""
        return (self.failed + self.silent) * BUCKETS / max(1, self.decided)


def tell(connection: Connection, rollout_id: str, thing_id: str, at: int) -> None:
    """The thing is about to be told the rollout's version."""
    connection.execute(_TELL, {"rollout": rollout_id, "thing": thing_id, "at": at})


def confirmed(connection: Connection, thing_id: str, version_id: str, at: int) -> None:
    """The thing has begun to run another version: its rollout's, or one from before."""
    values = {"thing": thing_id, "version": version_id, "at": at}
    if connection.execute(_HEARD, values | {"outcome": CONFIRMED}).rowcount == 0:
        connection.execute(_WENT_BACK, values)


def failed(connection: Connection, thing_id: str, version_id: str, at: int) -> None:
    """The thing has told that it cannot run a version."""
    connection.execute(_HEARD, {"thing": thing_id, "version": version_id, "at": at, "outcome": FAILED})


def start(session: Session, who: Caller, template: Template, new: NewRollout, at: int) -> Rollout:
    """A rollout that runs; `template` is locked. 400 when the plan cannot be meant, 409 when the template has a rollout
    already or the version is its target."""
    version = version_of(session, template.id, new.versionId)
    if template.rollout_id is not None:
        raise conflict("The template has a rollout already: cancel it first, or let it finish")
    if template.target_version_id == version.id:
        raise conflict(f"Version {version.name} is the target already")
    canaries = sorted(set(new.canaries))
    _require_things(session, template, canaries)
    rollout = Rollout(
        id=new_id(),
        template_id=template.id,
        version_id=version.id,
        state=RUNNING,
        stage_since=at,
        counted_since=at,
        failed_share_max=round(new.failedShareMaxPercent * _PERCENT),
        members_min=new.countMin,
        silent_after_s=new.silentAfterS,
        created_at=at,
        created_by=who.name,
    )
    session.add(rollout)
    session.flush()
    for position, stage in enumerate(new.plan()):
        reach = round(stage.percent * _PERCENT)
        session.add(
            RolloutStage(rollout_id=rollout.id, position=position, reach=reach, duration_s=stage.durationS),
        )
    session.add_all(RolloutMember(rollout_id=rollout.id, serial=serial, is_canary=True) for serial in canaries)
    session.flush()
    rollout.reach = rollout.stages[0].reach
    template.rollout_id = rollout.id
    plan = ", ".join(f"{share(stage.reach)} for {time_text(stage.duration_s)}" for stage in rollout.stages)
    record(session, who, "rollout started", rollout.id, f"version {version.name}: {plan}; {len(canaries)} canaries")
    return rollout


def pause(session: Session, who: Caller, rollout_id: str, reason: str) -> Rollout:
    """Nobody else is told the version; who was told it keeps it. 409 unless it runs."""
    rollout = _locked(session, rollout_id, (RUNNING,), "paused")
    rollout.state, rollout.reason = PAUSED, reason or f"by {who.name}"
    record(session, who, "rollout paused", rollout.id, rollout.reason)
    return rollout


def resume(session: Session, who: Caller, rollout_id: str, at: int) -> Rollout:
    """It goes on; its stage begins anew, and what failed or fell silent until now counts no more. 409 unless it is
    paused."""
    rollout = _locked(session, rollout_id, (PAUSED,), "resumed")
    rollout.state, rollout.reason = RUNNING, ""
    rollout.stage_since = rollout.counted_since = at
    record(session, who, "rollout resumed", rollout.id)
    return rollout


def cancel(session: Session, who: Caller, rollout_id: str, reason: str) -> Rollout:
    """End the rollout, and return it: the template's target is everybody's again, also theirs who run the version. 409
    when it has ended."""
    rollout = _locked(session, rollout_id, (RUNNING, PAUSED), "cancelled")
    rollout.state, rollout.reason = CANCELLED, reason or f"by {who.name}"
    session.get_one(Template, rollout.template_id).rollout_id = None
    record(session, who, "rollout cancelled", rollout.id, rollout.reason)
    return rollout


def get(session: Session, rollout_id: str) -> Rollout:
    """The rollout with this Id, or 404."""
    rollout = session.get(Rollout, rollout_id) if is_id(rollout_id) else None
    if rollout is None:
        raise not_found(f"There is no rollout {printable(rollout_id)}")
    return rollout


def progress(session: Session, rollout: Rollout, at: int, since: int = 0) -> Progress:
    """How its members are at a time; `since`: only what became of them after that time."""
    late = at - rollout.silent_after_s
    member = RolloutMember
    query = select(
        func.count().filter((member.outcome == CONFIRMED) & (member.outcome_at >= since)),
        func.count().filter((member.outcome == FAILED) & (member.outcome_at >= since)),
        func.count().filter(
            member.outcome.is_(None) & (member.told_at < late) & (member.told_at >= since - rollout.silent_after_s)
        ),
        func.count().filter(member.outcome.is_(None) & (member.told_at >= late)),
    ).where(member.rollout_id == rollout.id)
    return Progress(*session.execute(query).one())


def members(session: Session, rollout: Rollout, outcome: str, at: int, after: str, limit: int) -> list[RolloutMember]:
    """Those of its members that are so (see OUTCOMES), by serial number, behind `after`."""
    member = RolloutMember
    query = select(member).where(member.rollout_id == rollout.id, member.told_at.is_not(None), member.serial > after)
    if outcome in (CONFIRMED, FAILED):
        query = query.where(member.outcome == outcome)
    else:
        late = at - rollout.silent_after_s
        query = query.where(
            member.outcome.is_(None), member.told_at < late if outcome == SILENT else member.told_at >= late
        )
    return list(session.scalars(query.order_by(member.serial).limit(limit)))


def waits_for(session: Session, rollout: Rollout, counted: Progress, at: int) -> str:
    """Why a rollout stays in its stage although the stage's time is over; "" when nothing holds it."""
    if at < rollout.stage_since + rollout.stages[rollout.stage].duration_s or counted.confirmed:
        return ""
    if not _reaches_anything(session, rollout):
        return ""
    return "nobody has confirmed the version yet"


def advance(database: Database, at: int) -> None:
    """Pause the running rollouts of which too many members failed or are silent; take those to their next stage whose
    stage is over; finish those that have been through all."""
    with database.reading() as session:
        running = list(session.scalars(select(Rollout.id).where(Rollout.state == RUNNING)))
    for rollout_id in running:
        with database.reading() as session:
            verdict = _verdict(session, session.get_one(Rollout, rollout_id), at)
        if verdict is None:
            continue
        with database.writing() as session:
            rollout = session.get_one(Rollout, rollout_id, with_for_update=True)
            # Another process can have been faster, or a vendor.
            if rollout.state == RUNNING and (rollout.stage, rollout.stage_since) == verdict.seen:
                _carry_out(session, rollout, verdict, at)


@dataclass(frozen=True)
class _Verdict:
    """What is to be done with a rollout that was seen in this stage: to pause it (the reason says why), or go on."""

    seen: tuple[int, int]
    pause_reason: str


def _verdict(session: Session, rollout: Rollout, at: int) -> _Verdict | None:
    seen = (rollout.stage, rollout.stage_since)
    counted = progress(session, rollout, at, rollout.counted_since)
    if counted.decided >= _enough(session, rollout) and counted.bad_share > rollout.failed_share_max:
        percent = counted.bad_share / _PERCENT
        return _Verdict(
            seen,
            f"{counted.failed} failed and {counted.silent} silent of {counted.decided} things: {percent:.1f} %, more"
            f" than {rollout.failed_share_max / _PERCENT:g} %",
        )
    if at < rollout.stage_since + rollout.stages[rollout.stage].duration_s:
        return None
    if waits_for(session, rollout, progress(session, rollout, at), at):
        return None
    return _Verdict(seen, "")


def _enough(session: Session, rollout: Rollout) -> int:
    """How many members must be decided before their share means something. Of a few canaries each one counts."""
    if rollout.reach:
        return rollout.members_min
    canaries = select(func.count()).where(RolloutMember.rollout_id == rollout.id, RolloutMember.is_canary)
    return min(rollout.members_min, session.scalar(canaries) or 1)


def _carry_out(session: Session, rollout: Rollout, verdict: _Verdict, at: int) -> None:
    name = session.get_one(Version, rollout.version_id).name
    if verdict.pause_reason:
        rollout.state, rollout.reason = PAUSED, verdict.pause_reason
        record(session, _SERVER, "rollout paused", rollout.id, verdict.pause_reason)
    elif rollout.stage + 1 < len(rollout.stages):
        rollout.stage += 1
        rollout.reach = rollout.stages[rollout.stage].reach
        rollout.stage_since = at
        record(session, _SERVER, "rollout stage", rollout.id, f"version {name}: {share(rollout.reach)} of the things")
    else:
        rollout.state = DONE
        template = session.get_one(Template, rollout.template_id, with_for_update=True)
        template.target_version_id, template.rollout_id = rollout.version_id, None
        record(session, _SERVER, "rollout finished", rollout.id, f"version {name} is the target now")


def _reaches_anything(session: Session, rollout: Rollout) -> bool:
    of_template = select(Thing.id).where(Thing.template_id == rollout.template_id).limit(1)
    if session.scalar(of_template.where(Thing.bucket < rollout.reach)):
        return True
    canary = (RolloutMember.rollout_id == rollout.id) & (RolloutMember.serial == Thing.serial)
    return session.scalar(of_template.join(RolloutMember, canary).where(RolloutMember.is_canary)) is not None


def _locked(session: Session, rollout_id: str, states: tuple[str, ...], done: str) -> Rollout:
    get(session, rollout_id)
    rollout = session.get_one(Rollout, rollout_id, with_for_update=True, populate_existing=True)
    if rollout.state not in states:
        raise conflict(f"The rollout is {rollout.state}: it cannot be {done}")
    return rollout


def _require_things(session: Session, template: Template, canaries: list[str]) -> None:
    known: set[str] = set()
    if canaries:
        query = select(Thing.serial).where(Thing.template_id == template.id, Thing.serial.in_(canaries))
        known = set(session.scalars(query))
    if missing := [serial for serial in canaries if serial not in known]:
        rest = f" and {len(missing) - _NAMED_AT_MOST} more" if len(missing) > _NAMED_AT_MOST else ""
        named = ", ".join(missing[:_NAMED_AT_MOST])
        raise invalid(f"No thing of this template has been activated with the serial number {named}{rest}")


def share(reach: int) -> str:
    """A share of the fleet in words."""
    return f"{reach / _PERCENT:g} %" if reach else "canaries"
