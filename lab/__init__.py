"""A Keepalived + LVS Direct Routing training lab, from configuration to proof."""
