"""What shows that the device does as it should: power cuts, mistakes, generated input, a fleet, figures."""
