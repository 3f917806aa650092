"""The stories on real MicroPython firmware, in an emulated ESP32 with WiFi, see docs/chip.md."""
