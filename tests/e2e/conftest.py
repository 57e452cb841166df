"""The shared runs of the session."""

from browsers import browser
from reviews import manifest, review
from run_fixtures import damaged, other_images, planted, probed, tuned

__all__ = ["browser", "damaged", "manifest", "other_images", "planted", "probed", "review", "tuned"]
