"""What `kyara bench service` is made of: clients, what they ask, and what else is measured of a server."""
