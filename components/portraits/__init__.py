"""The embedded world: a vocabulary of drawn portraits, who reads and judges it, and how it was made."""
