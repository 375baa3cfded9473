"""One file a `kyara bench NAME`."""
