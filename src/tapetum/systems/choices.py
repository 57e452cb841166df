"""Our own reference systems, by name."""

from __future__ import annotations

from tapetum.core.registry import System

SYSTEMS = {
    system.name: system
    for system in (
        System(
            "dogs",
            "tapetum.systems.dogs",
            layouts={"stanford_dogs": "tapetum.systems.dogs.layout:read"},
            simulator="tapetum.systems.dogs.simulate:simulate_dogs",
        ),
        System(
            "hpa",
            "tapetum.systems.hpa",
            layouts={"hpa": "tapetum.systems.hpa.layout:read"},
            simulator="tapetum.systems.hpa.simulate:simulate_hpa",
            truth=("Target", "antibody"),
        ),
        System(
            "mask",
            "tapetum.systems.mask",
            layouts={"masks": "tapetum.systems.mask.layout:read"},
            simulator="tapetum.systems.mask.simulate:simulate_mask",
            template="eval/info.csv",
            truth=("ans", "person"),
        ),
        System(
            "sleep",
            "tapetum.systems.sleep_images",
            layouts={"sleep": "tapetum.systems.sleep_images.layout:read"},
            simulator="tapetum.systems.sleep_images.simulate:simulate_sleep",
            template="testset-for_user.csv",
            truth=("stage", "exam"),
        ),
    )
}
