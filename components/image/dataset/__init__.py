"""A folder of pictures as users have them, to verified, captioned, cached training data."""
