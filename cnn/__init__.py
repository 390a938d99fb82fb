"""Real networks: train, record and measure the collapse of BatchNorm's gamma (to come).

Only this package imports torch.
"""
