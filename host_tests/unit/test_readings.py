"""Readings: what is none is never told as one, one disturbance costs none, and no sensor takes another one's place."""

import esp32
import thermometer
from agent.errors import RetryableError
from board import readings, sensors
from ds18x20 import crc8, scratchpad

from host_tests.fakes.device import FakeBoard, fake_device
from tools.twin import hardware
from tools.twin.small_chip import power_on

FIRST, SECOND, THIRD = "28ff010203040506", "28aa010203040507", "28bb010203040508"


class _NoTime:
    @staticmethod
    def sleep_ms(duration_ms):
        pass


def measured(value):
    """What the board's room makes of this world of sensors."""
    power_on()
    hardware.world["ds18x20"] = value
    kept, sensors.time = sensors.time, _NoTime
    try:
        return sensors.sensors_celsius(4)
    finally:
        sensors.time = kept


def bits(content):
    """A scratchpad with these eight bytes, in hex; its checksum fits."""
    return (content + bytes((crc8(content),))).hex()


def changed(celsius, at, value):
    """A sensor's scratchpad of this temperature with another byte in it, in hex; its checksum fits."""
    content = bytearray(scratchpad(celsius)[:8])
    content[at] = value
    return bits(bytes(content))


def test_temperatures_are_read_as_they_are():
    for celsius in (21.5, 0.0, -0.0625, -10.125, 84.9375, 85.0625, -55.0, 125.0):
        assert measured(celsius) == {FIRST: celsius}, celsius


def test_what_is_no_reading_is_told_with_its_reason():
    for value, reason in (
        (85.0, "no measurement since power-on"),
        (bits(bytes(8)), "zeros"),
        (125.0625, "out of range: 125.0625"),
        (-55.0625, "out of range: -55.0625"),
        (changed(21.5, 1, 0x08), "impossible bits"),
        (changed(21.5, 1, 0x21), "impossible bits"),
        (changed(21.5, 4, 0xFF), "impossible bits"),
        (changed(21.5, 4, 0x00), "impossible bits"),
        ("00" * 8 + "01", "CRC error"),
    ):
        assert measured(value) == {FIRST: reason}, value


def test_one_disturbed_reading_is_repeated_and_two_are_not_a_reading():
    damaged = "00" * 8 + "01"
    for disturbed in (85.0, damaged, bits(bytes(8)), -127.0):
        assert measured([20.0, disturbed, 21.5]) == {FIRST: 21.5}, disturbed
        assert isinstance(measured([20.0, disturbed, disturbed, 21.5])[FIRST], str), disturbed
    assert measured({FIRST: 21.5, SECOND: [20.0, damaged, 22.0]}) == {FIRST: 21.5, SECOND: 22.0}


def test_empty_bus_is_looked_at_twice_and_has_no_readings():
    assert measured(None) == {}
    assert measured({FIRST: None, SECOND: 22.0}) == {SECOND: 22.0}


def test_first_esp32_gives_no_temperature_before_it_has_measured():
    power_on()
    kept = esp32.raw_temperature
    try:
        for fahrenheit, celsius in ((104, 40.0), (128, None), (127, 52.8)):
            esp32.raw_temperature = lambda: fahrenheit  # noqa: B023
            try:
                assert round(sensors.chip_celsius(), 1) == celsius
            except ValueError:
                assert celsius is None
    finally:
        esp32.raw_temperature = kept


def told(device):
    """The readings of a device: values by property, or the errors' codes."""
    return {
        reading.property_id: reading.error.code if reading.error else reading.celsius
        for reading in readings.read(device, thermometer.Reading)
    }


def with_sensors(device, **sensors):
    """The device's readings with these sensors on its bus, called by the two letters after 28."""
    names = {"ff": FIRST, "aa": SECOND, "bb": THIRD}
    device.board.sensors = {names[name]: value for name, value in sensors.items()}
    return told(device)


def test_sensor_that_was_seen_and_is_missing_is_an_error_and_no_other_takes_its_place():
    device = fake_device()
    assert with_sensors(device) == {} and device.record.sensors is None
    assert with_sensors(device, ff=21.54) == {"temperature": 21.5}
    assert with_sensors(device) == {"temperature": "sensor"}
    assert with_sensors(device, ff="CRC error") == {"temperature": "sensor"}
    assert with_sensors(device, aa=3.0, ff=21.5) == {"temperature": 21.5}, "the lower ROM code comes first in a scan"
    device.board.powered_on = True
    assert with_sensors(device, aa=3.0) == {"temperature": "sensor"}
    assert with_sensors(device, aa=3.0, bb=4.0) == {"temperature": "sensor"}
    assert with_sensors(device, bb=4.0, ff=21.5) == {"temperature": 21.5}


def test_only_sensor_is_replaced_with_the_power_off_but_not_while_it_runs():
    device = fake_device()
    assert with_sensors(device, ff=21.5) == {"temperature": 21.5}
    assert with_sensors(device, bb=4.0) == {"temperature": "sensor"}
    device = fake_device(root=device.root)
    device.record.save(sensors=FIRST)
    device.board.powered_on = True
    assert with_sensors(device, bb=4.0) == {"temperature": 4.0}
    device.board.powered_on = False
    assert with_sensors(device, ff=21.5, bb=4.0) == {"temperature": 4.0}


def test_sensors_that_the_settings_name_are_all_reported_each_under_its_own_property():
    device = fake_device(sensors={FIRST: "inside", SECOND: "outside"})
    assert with_sensors(device, ff=21.5, aa=3.0, bb=9.0) == {"inside": 21.5, "outside": 3.0}
    assert with_sensors(device, aa=3.0) == {"inside": "sensor", "outside": 3.0}
    assert device.record.sensors is None


def test_chips_own_temperature_is_told_only_where_the_settings_ask_for_it_and_never_as_the_rooms():
    for seen in (None, FIRST):
        device = fake_device()
        device.record.sensors = seen
        assert with_sensors(device) == ({"temperature": "sensor"} if seen else {})
        device.settings.chip_temperature_property = "chip"
        assert with_sensors(device).pop("chip") == 40.0
    device.board.chip_celsius = lambda: 1 / 0
    assert (
        with_sensors(device) == {"temperature": "sensor"} and "no temperature of the chip" in device.console.lines[-1]
    )


def test_trial_fails_without_the_sensor_that_was_there_and_writes_nothing_about_one():
    device = fake_device(FakeBoard(on_trial=True))
    device.report = lambda property_id, value: None
    for sensors_found in ({}, {FIRST: 21.5}):
        device.board.sensors = sensors_found
        thermometer.prove(device)
        assert device.record.sensors is None
    device.record.sensors = FIRST
    for missing in ({}, {FIRST: "zeros"}, {SECOND: 21.5}):
        device.board.sensors = missing
        try:
            thermometer.prove(device)
        except RetryableError as error:
            assert error.code == "sensor"
            continue
        raise AssertionError(missing)


def test_bus_that_fails_is_an_error_of_the_sensors_and_a_board_without_any_says_so():
    device = fake_device()
    device.record.save(thing_id="a", api_key="b")
    for broken in (OSError(5), Exception("x")):
        device.board.sensors = broken
        try:
            readings.read(device, thermometer.Reading)
        except RetryableError as error:
            assert error.code == "sensor"
            continue
        raise AssertionError(broken)
    device.board.sensors = {}
    thermometer.run(device, 1)
    assert "none is there" in device.console.lines[-1]
