"""The vendor's console: pages that a browser shows as they come, without a script."""
