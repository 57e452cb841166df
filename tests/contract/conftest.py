"""The shared runs of the session."""

from run_fixtures import damaged, other_images, planted, probed, tuned

__all__ = ["damaged", "other_images", "planted", "probed", "tuned"]
