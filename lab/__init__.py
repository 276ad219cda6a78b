"""A Keepalived + LVS Direct Routing training lab, from configuration to proof."""

# Name of the project, of everything that is called after it, and of the configuration's namespace.
PROJECT = "lvs-dr-lab"
