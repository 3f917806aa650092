"""Every small change to the device's code that a tool can think of, and whether a test notices it."""
