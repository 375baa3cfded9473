"""From a request to a picture: samplers, engines, promoted models, metadata."""
