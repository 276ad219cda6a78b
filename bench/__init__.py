"""What the lab costs and how fast it fails over, on real labs and beside a peer; `make bench` runs it."""
