"""What every room needs: errors, console, record, settings, schedule, and the runner of phases."""
