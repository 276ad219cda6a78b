"""The only Pulumi code: the topology as resources."""
