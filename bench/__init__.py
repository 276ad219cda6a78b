"""What the lab costs and how fast it fails over, on real labs and beside peers; `make bench` runs it."""
