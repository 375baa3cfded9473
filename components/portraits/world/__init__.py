"""The embedded world: pictures, captions, base model and judge that need no hub."""
