"""Rollouts: a bad version must stop by itself before the fleet has it. The clock is the test's."""

from dataclasses import dataclass, field

import pytest
from sqlalchemy import select, update

from tools.server import history, rollouts
from tools.server.access import Caller
from tools.server.database import Database
from tools.server.errors import ApiError
from tools.server.model import (
    BUCKETS,
    Event,
    Product,
    RolloutMember,
    SerialNumber,
    Template,
    Thing,
    Version,
    bucket_of,
    joins_for_target,
    new_id,
    rollout_to_tell_of,
    sha256_hex,
    target_version_id,
)
from tools.server.schemas import NewRollout, Stage
from tools.server.settings import Settings

ANNA = Caller("anna", None, "192.0.2.1")
HOUR_S, DAY_S = 3600, 86_400
STAGES = [Stage(percent=20, durationS=DAY_S), Stage(percent=100, durationS=DAY_S)]


@dataclass
class World:
    """A fleet of 100 things on version 1, and a version 2."""

    database: Database
    settings: Settings
    at: int = 1_800_000_000
    template_id: str = field(default_factory=new_id)
    version_ids: list[str] = field(default_factory=lambda: [new_id(), new_id()])
    serials: list[str] = field(default_factory=lambda: [f"T{number:03}" for number in range(100)])
    things: dict[str, str] = field(default_factory=dict)

    def fill(self) -> None:
        """Put it into the database."""
        with self.database.writing() as session:
            session.add(Template(id=self.template_id, name="T", description="", target_version_id=self.version_ids[0]))
            session.flush()
            for number, version_id in enumerate(self.version_ids, 1):
                values = {"number": number, "description": "", "firmware_sha256": "a" * 64, "size_bytes": 1}
                session.add(Version(id=version_id, template_id=self.template_id, **values))
            product_id = new_id()
            session.add(Product(id=product_id, name="P", description="", template_id=self.template_id))
            session.flush()
            for serial in self.serials:
                self.things[serial] = new_id()
                session.add(SerialNumber(serial=serial, folded=serial.lower(), product_id=product_id))
                session.flush()
                values = {"bucket": bucket_of(serial), "api_key_sha256": sha256_hex(serial)}
                values |= {"template_id": self.template_id, "current_version_id": self.version_ids[0]}
                session.add(Thing(id=self.things[serial], serial=serial, name=serial, **values))

    def start(self, **plan) -> str:
        """Start a rollout of version 2."""
        new = NewRollout(versionId=self.version_ids[1], **({"stages": STAGES, "countMin": 4} | plan))
        with self.database.writing() as session:
            template = session.get_one(Template, self.template_id)
            return rollouts.start(session, ANNA, template, new, self.at).id

    def poll(self, *serials: str) -> list[str]:
        """Let things ask for their target, as device.py does; those that got version 2."""
        got = []
        with self.database.writing() as session:
            for serial in serials:
                query = joins_for_target(select(target_version_id(), rollout_to_tell_of()).select_from(Thing))
                target, to_tell_of = session.execute(query.where(Thing.serial == serial)).one()
                if to_tell_of is not None:
                    rollouts.tell(session.connection(), to_tell_of, self.things[serial], self.at)
                if target == self.version_ids[1]:
                    got.append(serial)
        return got

    def confirm(self, *serials: str, version: int = 2) -> None:
        """Let things confirm a version."""
        with self.database.writing() as session:
            for serial in serials:
                thing_id, version_id = self.things[serial], self.version_ids[version - 1]
                history.confirm(session.connection(), ANNA, thing_id, version_id)
            # What is confirmed is confirmed now, by the test's clock.
            is_theirs = RolloutMember.serial.in_(serials) & RolloutMember.outcome_at.is_not(None)
            session.execute(update(RolloutMember).where(is_theirs).values(outcome_at=self.at))

    def report(self, phase: str, *serials: str) -> None:
        """Let things tell how their update to version 2 went."""
        value = f'{{"phase": "{phase}", "versionId": "{self.version_ids[1]}", "attempt": 3, "code": "rolled_back"}}'
        with self.database.writing() as session:
            for serial in serials:
                history.write(session.connection(), self.settings, ANNA, self.things[serial], "status", value)
            is_theirs = RolloutMember.serial.in_(serials) & RolloutMember.outcome_at.is_not(None)
            session.execute(update(RolloutMember).where(is_theirs).values(outcome_at=self.at))

    def later(self, seconds: int) -> None:
        """Let time pass, and the server look at its rollouts."""
        self.at += seconds
        rollouts.advance(self.database, self.at)

    def rollout(self, rollout_id: str):
        """The rollout as it is, with its progress."""
        with self.database.reading() as session:
            found = rollouts.get(session, rollout_id)
            found.progress = rollouts.progress(session, found, self.at)
            session.expunge_all()
            return found

    def reached(self, percent: float) -> list[str]:
        """The serial numbers that a stage reaches."""
        return [serial for serial in self.serials if bucket_of(serial) < percent * BUCKETS / 100]

    def events(self, kind: str) -> list[Event]:
        """What is on record."""
        with self.database.reading() as session:
            found = list(session.scalars(select(Event).where(Event.kind == kind)))
            session.expunge_all()
            return found


@pytest.fixture
def world(ready_url, tmp_path):
    database = Database(ready_url)
    made = World(database, Settings(tmp_path))
    made.fill()
    yield made
    database.close()


def test_share_is_of_the_fleet_and_always_the_same_things(world):
    few = world.reached(20)
    assert 0 < len(few) < 50
    world.start()
    assert world.poll(*world.serials) == few
    assert world.poll(*world.serials) == few


def test_good_version_reaches_all_and_becomes_the_target(world):
    rollout_id = world.start()
    few = world.poll(*world.serials)
    world.confirm(*few)
    world.later(DAY_S - 1)
    assert world.poll(*world.serials) == few
    world.later(1)
    assert world.poll(*world.serials) == world.serials
    world.confirm(*world.serials)
    world.later(DAY_S)
    ended = world.rollout(rollout_id)
    assert (ended.state, ended.progress.confirmed) == ("done", 100)
    with world.database.reading() as session:
        template = session.get_one(Template, world.template_id)
        assert (template.target_version_id, template.rollout_id) == (world.version_ids[1], None)
    assert world.poll(*world.serials) == world.serials
    assert [event.actor for event in world.events("rollout finished")] == ["server"]
    assert [event.actor for event in world.events("rollout started")] == ["anna"]


def test_canaries_come_first_and_alone(world):
    canaries = [serial for serial in world.serials if serial not in world.reached(20)][:3]
    rollout_id = world.start(canaries=canaries, stages=[Stage(percent=0, durationS=HOUR_S), *STAGES])
    assert world.poll(*world.serials) == canaries
    world.confirm(canaries[0])
    world.later(HOUR_S)
    assert world.rollout(rollout_id).stage == 1
    assert set(world.poll(*world.serials)) == {*canaries, *world.reached(20)}


def test_canaries_that_are_switched_off_let_nothing_pass(world):
    rollout_id = world.start(canaries=["T001"], stages=[Stage(percent=0, durationS=HOUR_S), *STAGES])
    world.later(10 * DAY_S)
    waiting = world.rollout(rollout_id)
    assert (waiting.state, waiting.stage) == ("running", 0)
    with world.database.reading() as session:
        found = rollouts.get(session, rollout_id)
        assert "nobody has confirmed" in rollouts.waits_for(session, found, waiting.progress, world.at)


def test_one_bad_canary_of_two_pauses_whatever_the_minimum(world):
    rollout_id = world.start(
        canaries=["T001", "T002"], stages=[Stage(percent=0, durationS=HOUR_S), *STAGES], countMin=50
    )
    world.poll("T001", "T002")
    world.confirm("T001")
    world.report("given up", "T002")
    world.later(1)
    assert world.rollout(rollout_id).state == "paused"


@pytest.mark.parametrize("phase", ["trial", "given up", "left"])
def test_version_that_fails_is_paused_by_itself(world, phase):
    rollout_id = world.start(failedShareMaxPercent=10)
    few = world.poll(*world.serials)
    world.confirm(*few[:3])
    world.later(1)
    assert world.rollout(rollout_id).state == "running"
    world.report(phase, few[3])
    world.later(1)
    paused = world.rollout(rollout_id)
    assert paused.state == "paused"
    assert paused.reason == "1 failed and 0 silent of 4 things: 25.0 %, more than 10 %"
    assert world.poll(*world.serials) == few  # who was told goes on, nobody else is told
    assert [event.text for event in world.events("rollout paused")] == [paused.reason]
    world.later(30 * DAY_S)
    assert world.rollout(rollout_id).stage == 0


def test_version_that_silences_things_is_paused_by_itself(world):
    rollout_id = world.start(failedShareMaxPercent=10)
    few = world.poll(*world.serials)
    world.confirm(*few[:3])
    world.later(HOUR_S)
    assert world.rollout(rollout_id).state == "running"
    world.later(1)
    paused = world.rollout(rollout_id)
    assert (paused.state, paused.progress.silent) == ("paused", len(few) - 3)


def test_few_failures_say_nothing_and_small_shares_are_borne(world):
    rollout_id = world.start(failedShareMaxPercent=10, countMin=12)
    few = world.poll(*world.serials)
    world.report("given up", few[0])
    world.later(1)
    assert world.rollout(rollout_id).state == "running"  # one of one: too few to judge
    world.confirm(*few[1:])
    world.later(DAY_S)
    assert len(few) >= 12 and world.rollout(rollout_id).stage == 1  # one of many: less than 10 %


def test_download_that_broke_off_is_no_failure(world):
    rollout_id = world.start(failedShareMaxPercent=0, countMin=1)
    few = world.poll(*world.serials)
    world.report("download", *few)
    world.later(1)
    assert world.rollout(rollout_id).state == "running"


def test_thing_that_tries_again_and_succeeds_is_no_failure(world):
    rollout_id = world.start()
    few = world.poll(*world.serials)
    world.report("trial", few[0])
    world.confirm(few[0])
    assert world.rollout(rollout_id).progress.failed == 0
    assert world.rollout(rollout_id).progress.confirmed == 1


def test_thing_that_goes_back_after_confirming_is_a_failure(world):
    rollout_id = world.start()
    few = world.poll(*world.serials)
    world.confirm(few[0])
    world.confirm(few[0], version=1)
    assert world.rollout(rollout_id).progress.failed == 1


def test_paused_rollout_tells_nobody_and_resumed_accepts_what_failed(world):
    rollout_id = world.start(failedShareMaxPercent=0, countMin=1)
    reached = world.reached(20)
    assert world.poll(*reached[:4]) == reached[:4]
    world.report("given up", reached[0])
    world.later(1)
    assert world.rollout(rollout_id).state == "paused"
    assert world.poll(*reached) == reached[:4]
    world.at += 10
    with world.database.writing() as session:
        rollouts.resume(session, ANNA, rollout_id, world.at)
    world.later(1)
    assert world.rollout(rollout_id).state == "running"
    assert world.poll(*reached) == reached
    world.report("given up", reached[5])
    world.later(1)
    assert world.rollout(rollout_id).state == "paused"


def test_cancelled_rollout_gives_everybody_the_target_back(world):
    rollout_id = world.start()
    few = world.poll(*world.serials)
    world.confirm(*few)
    with world.database.writing() as session:
        rollouts.cancel(session, ANNA, rollout_id, "too hot")
    assert world.poll(*world.serials) == []
    world.later(30 * DAY_S)
    assert world.rollout(rollout_id).state == "cancelled"
    assert [(event.actor, event.text) for event in world.events("rollout cancelled")] == [("anna", "too hot")]


def test_pinned_thing_is_left_alone(world):
    world.start(stages=[Stage(percent=100, durationS=DAY_S)])
    with world.database.writing() as session:
        session.execute(update(Thing).where(Thing.serial == "T001").values(pinned_version_id=world.version_ids[0]))
    assert "T001" not in world.poll(*world.serials)
    with world.database.reading() as session:
        assert "T001" not in set(session.scalars(select(RolloutMember.serial)))


def test_thing_that_runs_the_version_already_counts_as_confirmed(world):
    rollout_id = world.start()
    few = world.reached(20)
    with world.database.writing() as session:
        session.execute(update(Thing).where(Thing.serial == few[0]).values(current_version_id=world.version_ids[1]))
    world.poll(few[0])
    assert world.rollout(rollout_id).progress.confirmed == 1


@pytest.mark.parametrize(
    ("state", "action"),
    [("paused", rollouts.pause), ("cancelled", rollouts.pause), ("cancelled", rollouts.cancel)],
)
def test_ended_or_paused_rollout_is_not_ended_again(world, state, action):
    rollout_id = world.start()
    with world.database.writing() as session:
        (rollouts.pause if state == "paused" else rollouts.cancel)(session, ANNA, rollout_id, "")
    with pytest.raises(ApiError, match=f"is {state}"), world.database.writing() as session:
        action(session, ANNA, rollout_id, "")


def test_second_rollout_of_a_template_is_refused(world):
    world.start()
    with pytest.raises(ApiError, match="rollout already"):
        world.start()


def test_canary_that_is_no_thing_is_refused(world):
    with pytest.raises(ApiError, match="activated with the serial number NOBODY"):
        world.start(canaries=["T001", "NOBODY"])


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ({"stages": [Stage(percent=50, durationS=DAY_S)]}, "to 100"),
        ({"stages": [STAGES[1], STAGES[1]]}, "must grow"),
        ({"stages": [Stage(percent=0, durationS=DAY_S), STAGES[1]]}, "canaries"),
        ({"stages": [Stage(percent=100, durationS=60)]}, "before a thing counts as silent"),
    ],
)
def test_plan_that_protects_nobody_is_refused(plan, why):
    with pytest.raises(ValueError, match=why):
        NewRollout(versionId=new_id(), **plan)


def test_two_servers_take_a_rollout_one_stage_on(world):
    rollout_id = world.start()
    world.confirm(*world.poll(*world.serials))
    other = Database(world.database.url)
    world.at += DAY_S
    rollouts.advance(world.database, world.at)
    rollouts.advance(other, world.at)
    other.close()
    assert world.rollout(rollout_id).stage == 1
    assert len(world.events("rollout stage")) == 1


def test_member_of_nobodys_rollout_is_not_made_up(world):
    world.confirm("T001")
    world.report("given up", "T002")
    with world.database.reading() as session:
        assert session.scalars(select(RolloutMember)).all() == []


def test_failed_thing_is_marked_until_it_confirms(world):
    world.report("given up", "T001", "T002")
    world.confirm("T001")
    with world.database.reading() as session:
        assert session.scalars(select(Thing.serial).where(Thing.failed_at.is_not(None))).all() == ["T002"]


@pytest.mark.parametrize("value", ['"given up"', '["trial"]', '{"phase": ["trial"]}', '{"phase": "trial"}', "7"])
def test_report_of_any_form_does_no_harm(world, value):
    world.start()
    world.poll(*world.serials)
    with world.database.writing() as session:
        history.write(session.connection(), world.settings, ANNA, world.things["T001"], "status", value)


def test_buckets_are_even():
    shares = [bucket_of(f"THERM{number:014}") < BUCKETS // 10 for number in range(10_000)]
    assert 900 < sum(shares) < 1100
