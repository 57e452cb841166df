"""The shared runs of the session."""

from browsers import browser
from run_fixtures import damaged, other_images, planted, probed, tuned

__all__ = ["browser", "damaged", "other_images", "planted", "probed", "tuned"]
