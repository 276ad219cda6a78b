#!/bin/sh
# Stands in for update-rc.d(8) while packages are being installed. What that writes is for hosts without systemd,
# and each call has systemd read all its units again.
