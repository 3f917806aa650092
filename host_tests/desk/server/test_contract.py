"""Generated requests against the OpenAPI description: no 5xx, nothing that the description does not say.

A sample here; `make schemathesis` makes many more (GADGETKEEPER_SCHEMATHESIS: requests for each call).
"""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from host_tests.desk.server.rig import make_field
from tools.server import running

EXAMPLES = int(os.environ.get("GADGETKEEPER_SCHEMATHESIS", "3"))
CHECKS = (
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    with running(folder / "data", serial_burst=10_000, again_burst=100_000) as server:
        yield make_field(server, folder)


def test_every_call_does_what_its_description_says(field):
    schema = schemathesis.openapi.from_url(f"{field.server.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 30
    for operation in operations:
        # The password that these requests need must stay.
        if "/vendors/" not in operation.path:
            check(field, operation)


def check(field, operation) -> None:
    products = [each for each in field.server.vendor.products() if each["id"] != field.product["id"]]
    products = products or [field.server.vendor.create_product("Other", field.template["id"])]
    # What exists is hit more often than by chance.
    known = {
        "template_id": field.template["id"],
        "product_id": products[-1]["id"],
        "version_id": field.version["id"],
        "thing_id": field.device("S1").thing_id,
        "serial": "S4",
        "property_id": "temperature",
    }

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=EXAMPLES < 10,
        database=None,
    )
    @given(case=operation.as_strategy(), is_known=strategies.booleans())
    def request(case, is_known: bool) -> None:
        if is_known and case.path_parameters:
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
        case.call_and_validate(auth=("vendor", field.server.password), checks=CHECKS)

    request()
