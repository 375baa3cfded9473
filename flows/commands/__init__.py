"""The commands of `kyara`, by what they are for. Heavy imports stand inside each: `kyara --help` answers at once."""
