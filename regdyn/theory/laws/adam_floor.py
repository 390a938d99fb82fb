r"""Adam and RMSprop under L2: where theta ends.

Three ends, and one formula through all of them. With S^2 = sigma^2 + lambda^2 V, theta feels a
heavy ball of learning rate lr (1 - beta1) / (S + eps) and momentum beta1, whose variance V is known
(`heavy_ball`): one equation for V.

noise           sigma >> eps, lr lambda:   std = sqrt(lr sigma / (2 lambda))
eps             eps >> sigma, and lr lambda / eps < 2 (1 + beta1) / (1 - beta1): SGD with lr / eps
edge            sigma, eps << lr lambda:   a cycle of period 2 whose size is that of lr alone
"""

import math
from typing import Any

from regdyn.rules import SGD
from regdyn.theory.laws.gaussian import noise_gain, slope
from regdyn.theory.laws.heavy_ball import heavy_ball
from regdyn.theory.laws.law import Law, betas, invalid, judged, lag


def adam_l2_std(hp: Any, lam: float, sigma: float) -> Law:
    r"""Stationary standard deviation of theta under Adam or RMSprop and L2.

    Formula: V = lr sigma^2 (1 + b1) / (lambda (S + eps) (2 (1 + b1) - (1 - b1) kappa)), with
    kappa = lr lambda / (S + eps) and S^2 = sigma^2 + lambda^2 V. Leading order for small kappa:

        std = sqrt(lr sigma / (2 lambda))

    times the ratio of noise and drift as v fluctuates (`noise_gain`, `slope`). Exact to first order
    in kappa. Neglected: that v follows theta^2 within the memory of momentum, the share
    lambda^2 V / S^2 of v times T / (T + N2), where T is the smaller of N1 and the correlation time
    of theta^2. Without momentum it vanishes. Range: so beta2 must remember longer than beta1 once
    lr lambda is not small against sigma + eps.
    Assumption: independent Gaussian gradients, constant sigma.
    Source: derived in docs/laws/adam-floor.md.
    """
    b1, b2 = betas(hp)
    if lam == 0 or sigma == 0 or hp.lr == 0:
        return invalid(math.nan, "Without noise and decay there is no stationary state.")
    V = _variance(hp, lam, sigma, b1)
    S = math.hypot(sigma, lam * math.sqrt(V))
    kappa = hp.lr * lam / (S + hp.eps)
    gain, second = noise_gain(b1, b2, hp.eps / sigma)
    gain /= slope(b1, b2, hp.eps / sigma)
    share = 1 - (sigma / S) ** 2
    memory = min(_memory_of_square(kappa * (1 - b1), b1), lag(b1))
    following = share * memory / (memory + lag(b2)) if memory else 0.0
    neglected = {"of second order in 1 / nu": second / 2, "v following theta": following}
    return judged(math.sqrt(V * gain), neglected)


def _variance(hp: Any, lam: float, sigma: float, b1: float) -> float:
    """The positive root V of the self-consistent equation, by bisection in ln S."""
    c = hp.lr * lam * (1 - b1) / (2 * (1 + b1))  # S + eps > c: the heavy ball is stable

    def surplus(S: float) -> float:
        """lambda^2 V(S) - (S^2 - sigma^2): decreasing in S."""
        k = S + hp.eps
        return hp.lr * lam * sigma**2 / (2 * (k - c)) - (S - sigma) * (S + sigma)

    low = max(sigma, c - hp.eps)
    high = low + sigma + hp.lr * lam
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    if high > 2 * sigma:  # at the edge of stability the other form loses its digits
        return (high - sigma) * (high + sigma) / lam**2
    return hp.lr * sigma**2 / (2 * lam * (high + hp.eps - c))


def _memory_of_square(k: float, mu: float) -> float:
    """Sum over j >= 1 of rho_j^2, rho the autocorrelation of the heavy ball theta."""
    z1, z2 = heavy_ball(SGD(k, mu), 1.0).roots
    if z1 == z2:
        z1 = z1 + 1e-6
    A = z1 * (1 - z2 * z2) / ((z1 - z2) * (1 + z1 * z2))
    B = 1 - A
    total = A * A * z1 * z1 / (1 - z1 * z1) + B * B * z2 * z2 / (1 - z2 * z2)
    return (total + 2 * A * B * z1 * z2 / (1 - z1 * z2)).real


def edge_floor(hp: Any, lam: float, sigma: float = 0.0) -> Law:
    r"""Size of theta under Adam and L2 without noise: the edge of stability.

    Formula: lr (1 - beta1) / (2 (1 + beta1)), whatever lambda: a cycle theta, -theta, ... in which
    sqrt(v) = lambda |theta| puts lr lambda / sqrt(v) exactly at the heavy ball's bound
    2 (1 + beta1) / (1 - beta1). Were theta smaller, v would fall and theta grow.
    Assumption: sigma and eps small against that sqrt(v). The cycle is an exact solution for
    sigma = eps = 0; neglected: (sigma^2 + 2 eps sqrt(v)) / 2 v, and as in `adam_l2_std` N1 / N2.
    Source: the bound is Cohen et al. (2022), adaptive edge of stability; the floor is derived.
    """
    b1, b2 = betas(hp)
    size = hp.lr * (1 - b1) / (2 * (1 + b1))
    root = lam * size
    if root == 0:
        return invalid(size, "Without decay and learning rate there is no edge.")
    noise, damped = (sigma / root) ** 2, hp.eps / root
    # of V = lr sigma^2 / (2 lam (S + eps - root)): S exceeds root by about sigma^2 / (2 root)
    neglected = {"sigma": noise / 2, "eps": damped, "v following theta": 0.0}
    if b1:
        neglected["v following theta"] = lag(b1) / (lag(b1) + lag(b2))
    return judged(size, neglected)


def eps_endgame(hp: Any, lam: float, theta: float, sigma: float = 0.0) -> Law:
    r"""Decay of theta per step once sqrt(v) is far below eps: a heavy ball with lr / eps.

    Formula: 1 - |z1|, z1 the slow root of z^2 - (1 + b1 - k) z + b1, k = lr (1 - b1) lambda / eps;
    1 - z1 ~ lr lambda / eps. It decays iff

        lr lambda / eps < 2 (1 + beta1) / (1 - beta1)

    (38 at beta1 = 0.9); above, theta grows to the edge (`edge_floor`).
    Assumption: lambda |theta| and sigma small against eps; their sum over eps is neglected.
    Source: Cohen et al. (2022) for the bound; Polyak (1964) for the roots.
    """
    if hp.eps == 0:
        return invalid(math.nan, "eps is 0.")
    b1, _ = betas(hp)
    ball = heavy_ball(SGD(hp.lr * (1 - b1) / hp.eps, b1), lam)
    rate = 1 - abs(ball.roots[0])
    if not ball.stable:
        return invalid(rate, "lr lambda / eps is above 2 (1 + beta1) / (1 - beta1): no decay.")
    return judged(rate, {"sqrt(v) against eps": math.hypot(lam * theta, sigma) / hp.eps})
