"""When a setting has come to rest: the rest of its run then needs no computation."""

from math import sqrt

from regdyn.compile import compiled
from regdyn.theory.forms import ADAGRAD, AMSGRAD

REST = 1e-9  # relative change in 256 steps or more


@compiled
def steady_from(form, steps, noise):
    """The step from which on every table is constant; after the last one, never."""
    n = noise.sigma.shape[0]
    if form.kind in (AMSGRAD, ADAGRAD):  # their v never settles
        return n + 1
    last = 0
    for table in (steps.size, steps.root, steps.settle, steps.scale, noise.sigma, noise.push):
        t = n - 1
        while t > last and table[t - 1] == table[n - 1]:
            t -= 1
        last = t
    return last + 1


@compiled
def at_rest(now, then, step):
    """Whether a setting stands still: its moments (mean, variance, ...), and its mean's last step.

    Means are held against the standard deviation, all else against itself.
    """
    sd = sqrt(max(now[1], 0.0))
    if max(abs(now[0] - then[0]), abs(step)) > REST * sd:
        return False
    for i in range(1, len(now)):
        if abs(now[i] - then[i]) > REST * abs(now[i]):
            return False
    return True
