"""The product: measures temperatures and reports them as properties of the thing.

The agent calls `prove` and `run`; what the product may use of it is in docs/another-product.md.
"""

import time

from agent.errors import AgentError, PermanentError, RetryableError
from agent.runner import run as run_phase


class Reading:
    """What a sensor measured, in degrees Celsius, and the property that it belongs to; or the error that it gave."""

    def __init__(self, property_id: str, celsius: "float | None", error: "RetryableError | None" = None) -> None:
        self.property_id = property_id
        self.celsius = celsius
        self.error = error


def prove(agent) -> None:
    """Show in a trial that the product works: read the sensors that were there before, and report once. AgentError when
    that fails."""
    for reading in run_phase("board.readings", "read", agent, Reading):
        if reading.error:
            raise reading.error
        try:
            agent.report(reading.property_id, reading.celsius)
        except PermanentError as error:  # the server has answered; a property that it lacks is not this release's fault
            agent.console.say(f"not reported [{error.code}]")


def run(agent, duration_s: int) -> None:
    """Measure and report every `report_interval_s` for `duration_s`.

    When the server has dropped the API key, which only another activation can mend, return early, unless the last round
    has failed."""
    can_report = bool(agent.record.api_key and agent.settings.server)
    while duration_s > 0:
        start_ms = time.ticks_ms()
        wait_s = min(run_phase("agent.backoff", "interval_s", agent.settings.report_interval_s), duration_s)
        if _measure(agent, can_report) == "key_dropped":
            can_report = False
            if agent.schedule.failures == 0:
                duration_s = wait_s
        agent.wait(wait_s * 1000)
        duration_s -= max(wait_s, time.ticks_diff(time.ticks_ms(), start_ms) // 1000)


def _measure(agent, can_report: bool) -> str:
    """Measure and report once; return the code of the error that ended the latter, empty without one."""
    code = ""
    try:
        readings = run_phase("board.readings", "read", agent, Reading)
        if not readings:
            raise RetryableError("sensor", agent.settings.onewire_pin, "none is there")
    except Exception as error:  # whatever it is, the next reading may be better
        _say(agent, error)
        return code
    for reading in readings:
        try:
            if reading.error:
                raise reading.error
            celsius = reading.celsius
            agent.report(reading.property_id, celsius, can_report)
            if can_report:
                agent.console.say(f"{celsius} C reported")
            else:
                agent.console.say(f"{celsius} C, not reported: not activated")
        except Exception as error:
            _say(agent, error)
            if isinstance(error, AgentError) and error.code == "key_dropped":
                code = error.code
                can_report = False
    return code


def _say(agent, error: Exception) -> None:
    agent.console.say(f"not reported: {run_phase('agent.sentences', 'sentence', error)}")
