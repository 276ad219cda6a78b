"""Programs that run on the guests; plain Python with the standard library, carried there over SSH."""
