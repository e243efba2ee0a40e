"""Pictures of a running environment."""
