"""What the server carries, next to plain static file serving on the same machine in the same run."""
