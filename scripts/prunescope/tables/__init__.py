"""What every table of the store holds: columns, types, units and keys."""
