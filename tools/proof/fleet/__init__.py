"""`make fleet`: many thermometers come back at the same second against one server that first refuses."""
