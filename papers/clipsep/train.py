"""Training."""


def lr_multiplier(step: int, warmup: int = 5000, decay_until: int = 100_000, floor: float = 0.1) -> float:
    """Factor on the learning rate at a 0-based step: linear warm-up to 1, linear decay to `floor`, then constant.

    Source: official code.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min((step - warmup) / (decay_until - warmup), 1.0)
    return 1 - (1 - floor) * progress
