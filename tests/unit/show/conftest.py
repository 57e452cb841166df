"""The review of eight small images."""

from reviews import manifest, page, review

__all__ = ["manifest", "page", "review"]
