"""The studio: a page for people who make pictures. It asks the service over HTTP and holds no model."""
