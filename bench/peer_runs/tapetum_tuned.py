"""Tapetum's default: probe and fine-tuning; the one that is better on other folds answers."""

from __future__ import annotations

import common
import tapetum_probe

if __name__ == "__main__":
    wish = common.asked()
    tapetum_probe.fit(epochs=wish.epochs, batch=wish.batch)
