"""What `kyara bench modes` measures, a file a part."""
