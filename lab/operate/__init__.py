"""A running lab: known through the stack output ``inventory``, reached over SSH."""
