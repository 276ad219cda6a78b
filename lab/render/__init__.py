"""Topology in, text out: what each machine is told."""
