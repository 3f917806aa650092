"""What goes in and out, as the OpenAPI page shows it."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from .model import BUCKETS, Event, Product, Rollout, RolloutMember, SerialNumber, Template, Thing, Vendor, Version

# No control characters and none that turn the direction of a line: names stand in tables, logs and on terminals.
_CONTROL = "\\u0000-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff"
_TEXT_CONTROL = _CONTROL.replace("\\u0000-\\u001f", "\\u0000-\\u0008\\u000b-\\u001f")  # a text may have lines
NAME_PATTERN = f"^[^{_CONTROL}]*[^{_CONTROL} ][^{_CONTROL}]*$"
TEXT_PATTERN = f"^[^{_TEXT_CONTROL}]*$"
SERIAL_PATTERN = "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$"
PROPERTY_PATTERN = "^[A-Za-z0-9._-]{1,64}$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NAME_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=2000, pattern=TEXT_PATTERN)]
Serial = Annotated[str, StringConstraints(pattern=SERIAL_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
VendorName = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9._-]{0,63}$")]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="ignore")


class ErrorView(BaseModel):
    code: Annotated[str, Field(pattern="^GK-000-000[1-5]$")]
    message: str


class Activated(BaseModel):
    thingId: str
    apiKey: str


class ThingChange(Body):
    name: Name | None = None
    description: Text | None = None


class NewTemplate(Body):
    name: Name
    description: Text = ""


class NewProduct(Body):
    name: Name
    templateId: str
    description: Text = ""
    requiresDeviceSecret: bool = False


class ProductChange(Body):
    requiresDeviceSecret: bool


class NewSerials(Body):
    serialNumbers: Annotated[list[str], Field(min_length=1)]
    secretSha256: Annotated[dict[str, Sha256], Field(description="by serial number, for those that have one")] = {}


class SerialChange(Body):
    blocked: bool | None = None
    secretSha256: Sha256 | None = None


class NewVendor(Body):
    name: VendorName


class Stage(BaseModel):
    percent: Annotated[float, Field(ge=0, le=100, multiple_of=0.01, description="of the things; 0: the canaries alone")]
    durationS: Annotated[int, Field(ge=1, le=366 * 86_400, description="at least")]


class NewRollout(Body):
    """`stages` left out: the canaries if there are any, 1 %, 10 %, 50 %, 100 %, a day each."""

    versionId: str
    canaries: Annotated[
        list[Serial], Field(max_length=1000, description="serial numbers that are always among them")
    ] = []
    stages: Annotated[list[Stage], Field(max_length=50)] = []
    failedShareMaxPercent: Annotated[
        float, Field(ge=0, le=100, multiple_of=0.01, description="more failed or silent things pause it")
    ] = 5
    countMin: Annotated[int, Field(ge=1, le=1_000_000, description="with fewer things a share means nothing")] = 10
    silentAfterS: Annotated[int, Field(ge=1, le=366 * 86_400, description="told, and nothing heard: silent")] = 3600

    def plan(self) -> list[Stage]:
        """Its stages."""
        percents = ([0] if self.canaries else []) + [1, 10, 50, 100]
        day_s = max(86_400, self.silentAfterS)
        return self.stages or [Stage(percent=percent, durationS=day_s) for percent in percents]

    @model_validator(mode="after")
    def _is_plausible(self) -> Self:
        stages = self.plan()
        percents = [stage.percent for stage in stages]
        if any(later <= earlier for earlier, later in pairwise(percents)) or percents[-1] != 100:
            raise ValueError("the percentages must grow from stage to stage, to 100 in the last")
        if percents[0] == 0 and not self.canaries:
            raise ValueError("a stage of 0 % is the canaries' own, and there are none")
        if short := next((stage for stage in stages if stage.durationS < self.silentAfterS), None):
            raise ValueError(
                f"a stage of {short.durationS} s is over before a thing counts as silent, after {self.silentAfterS} s"
            )
        return self


class RolloutEnd(Body):
    """Why a vendor pauses or cancels a rollout."""

    reason: Text = ""


class VersionDetails(Body):
    details: dict[str, Any]


class VersionView(BaseModel):
    id: str
    name: str
    description: str

    @classmethod
    def of(cls, version: Version) -> "VersionView":
        """As a thing sees it."""
        return cls(id=version.id, name=version.name, description=version.description)


class VendorVersionView(VersionView):
    sizeBytes: int
    sha256: str
    createdAt: str
    signed: bool
    details: dict[str, Any]

    @classmethod
    def of(cls, version: Version) -> "VendorVersionView":
        """As a vendor sees it."""
        return cls(
            id=version.id,
            name=version.name,
            description=version.description,
            sizeBytes=version.size_bytes,
            sha256=version.firmware_sha256,
            createdAt=time_of(version.created_at),
            signed=version.is_signed,
            details=version.details,
        )


class TemplateView(BaseModel):
    id: str
    name: str
    description: str
    targetVersion: VersionView | None

    @classmethod
    def of(cls, template: Template) -> "TemplateView":
        """The template with its target."""
        target = template.target_version
        return cls(
            id=template.id,
            name=template.name,
            description=template.description,
            targetVersion=VersionView.of(target) if target else None,
        )


class ProductView(BaseModel):
    id: str
    name: str
    description: str
    templateId: str
    requiresDeviceSecret: bool

    @classmethod
    def of(cls, product: Product) -> "ProductView":
        """The product."""
        return cls(
            id=product.id,
            name=product.name,
            description=product.description,
            templateId=product.template_id,
            requiresDeviceSecret=product.requires_device_secret,
        )


class Added(BaseModel):
    added: int


class SerialView(BaseModel):
    serialNumber: str
    productId: str
    blocked: bool
    hasSecret: bool

    @classmethod
    def of(cls, registered: SerialNumber) -> "SerialView":
        """The serial number; of its secret, that there is one."""
        return cls(
            serialNumber=registered.serial,
            productId=registered.product_id,
            blocked=registered.is_blocked,
            hasSecret=registered.secret_sha256 is not None,
        )


class ThingView(BaseModel):
    id: str
    serialNumber: str
    name: str
    description: str | None
    templateId: str
    currentVersion: VersionView | None
    currentVersionSince: str | None
    targetVersion: VersionView | None
    pinned: bool
    status: str
    lastSeen: str | None
    failedAt: Annotated[str | None, Field(description="when its last update ended badly; null once it has confirmed")]
    properties: dict[str, Any]

    @classmethod
    def of(cls, thing: Thing, target: Version | None, properties: dict[str, Any]) -> "ThingView":
        """The thing with its properties. `status`: see `status_of`."""
        return cls(
            id=thing.id,
            serialNumber=thing.serial,
            name=thing.name,
            description=thing.description,
            templateId=thing.template_id,
            currentVersion=VersionView.of(thing.current_version) if thing.current_version else None,
            currentVersionSince=time_of(thing.current_since) if thing.current_since else None,
            targetVersion=VersionView.of(target) if target else None,
            pinned=thing.pinned_version_id is not None,
            status=status_of(thing.current_version_id, target.id if target else None),
            lastSeen=time_of(thing.last_seen_at) if thing.last_seen_at else None,
            failedAt=time_of(thing.failed_at) if thing.failed_at else None,
            properties=properties,
        )


class VendorView(BaseModel):
    name: str
    createdAt: str

    @classmethod
    def of(cls, vendor: Vendor) -> "VendorView":
        """The vendor."""
        return cls(name=vendor.name, createdAt=time_of(vendor.created_at))


class VendorCreated(VendorView):
    password: str


class EventView(BaseModel):
    at: str
    actor: str
    address: str | None
    kind: str
    subject: str
    text: str

    @classmethod
    def of(cls, event: Event) -> "EventView":
        """The event."""
        return cls(
            at=time_of(event.at),
            actor=event.actor,
            address=event.address,
            kind=event.kind,
            subject=event.subject,
            text=event.text,
        )


class RolloutView(BaseModel):
    id: str
    templateId: str
    version: VersionView
    state: Annotated[str, Field(description="running, paused, done or cancelled")]
    reason: Annotated[str, Field(description="of the state")]
    stage: Annotated[int, Field(description="from 1")]
    stages: list[Stage]
    stageSince: str
    waitsFor: Annotated[str, Field(description="what holds it in its stage although that is over")]
    failedShareMaxPercent: float
    countMin: int
    silentAfterS: int
    createdAt: str
    createdBy: str
    told: int
    confirmed: int
    failed: int
    silent: int

    @classmethod
    def of(cls, rollout: Rollout, progress: Any, waits_for: str) -> "RolloutView":
        """The rollout with how its members are."""
        percent = BUCKETS / 100
        return cls(
            id=rollout.id,
            templateId=rollout.template_id,
            version=VersionView.of(rollout.version),
            state=rollout.state,
            reason=rollout.reason,
            stage=rollout.stage + 1,
            stages=[Stage(percent=stage.reach / percent, durationS=stage.duration_s) for stage in rollout.stages],
            stageSince=time_of(rollout.stage_since),
            waitsFor=waits_for,
            failedShareMaxPercent=rollout.failed_share_max / percent,
            countMin=rollout.members_min,
            silentAfterS=rollout.silent_after_s,
            createdAt=time_of(rollout.created_at),
            createdBy=rollout.created_by,
            told=progress.told,
            confirmed=progress.confirmed,
            failed=progress.failed,
            silent=progress.silent,
        )


class MemberView(BaseModel):
    serialNumber: str
    canary: bool
    toldAt: str
    outcome: Annotated[str, Field(description="confirmed, failed, silent or open")]

    @classmethod
    def of(cls, member: RolloutMember, outcome: str) -> "MemberView":
        """A member that has been told, and how it is."""
        return cls(
            serialNumber=member.serial, canary=member.is_canary, toldAt=time_of(member.told_at or 0), outcome=outcome
        )


class Kept(BaseModel):
    at: str
    value: Any


class HealthView(BaseModel):
    status: str


def status_of(current_id: str | None, target_id: str | None) -> str:
    """How a thing is: "no target version", "update pending" or "up to date"."""
    if target_id is None:
        return "no target version"
    return "up to date" if current_id == target_id else "update pending"


def time_of(at: int) -> str:
    """A stored time as it is shown: ISO 8601, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
