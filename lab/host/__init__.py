"""The operator's computer: packages, engine, guest image, hypervisor, checks before anything is built."""
