"""Textbook twins of the update rules: one scalar, plain floats, written from the papers.

Nothing here is shared with regdyn. Bias corrections divide m and v, as the papers print them;
weight decay is subtracted by its definition. Each rule is a closure over its state that maps a
gradient and the learning rate of the step to what is subtracted from theta. No defaults.
"""

import math


def sgd(momentum, nesterov):
    """Momentum as in torch's documentation of SGD (dampening 0)."""
    b = 0.0

    def step(g, lr):
        nonlocal b
        b = momentum * b + g
        return lr * (g + momentum * b) if nesterov else lr * b

    return step


def adam(beta1, beta2, eps):
    """Kingma & Ba (2015), algorithm 1."""
    m = v = 0.0
    t = 0

    def step(g, lr):
        nonlocal m, v, t
        t += 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        return lr * m_hat / (math.sqrt(v_hat) + eps)

    return step


def amsgrad(beta1, beta2, eps, flavour):
    """Reddi, Kale & Kumar (2018), algorithm 2, and the two libraries' ways to correct its bias."""
    m = v = v_max = 0.0
    t = 0

    def step(g, lr):
        nonlocal m, v, v_max, t
        t += 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        if flavour == "original":
            v_max = max(v_max, v)
            return lr * m / (math.sqrt(v_max) + eps)
        m_hat = m / (1 - beta1**t)
        if flavour == "optax":
            v_max = max(v_max, v / (1 - beta2**t))
            return lr * m_hat / (math.sqrt(v_max) + eps)
        v_max = max(v_max, v)
        return lr * m_hat / (math.sqrt(v_max / (1 - beta2**t)) + eps)

    return step


def adagrad(eps):
    """Duchi, Hazan & Singer (2011), diagonal form."""
    squares = 0.0

    def step(g, lr):
        nonlocal squares
        squares += g**2
        return lr * g / (math.sqrt(squares) + eps)

    return step


def adadelta(rho, eps):
    """Zeiler (2012), algorithm 1, its step multiplied by a learning rate."""
    mean_g2 = mean_dx2 = 0.0

    def step(g, lr):
        nonlocal mean_g2, mean_dx2
        mean_g2 = rho * mean_g2 + (1 - rho) * g**2
        dx = -math.sqrt(mean_dx2 + eps) / math.sqrt(mean_g2 + eps) * g
        mean_dx2 = rho * mean_dx2 + (1 - rho) * dx**2
        return -lr * dx

    return step


def rmsprop(alpha, eps):
    """Tieleman & Hinton (2012), lecture 6.5, with eps outside the root."""
    v = 0.0

    def step(g, lr):
        nonlocal v
        v = alpha * v + (1 - alpha) * g**2
        return lr * g / (math.sqrt(v) + eps)

    return step


def lion(beta1, beta2):
    """Chen et al. (2023), algorithm 2."""
    m = 0.0

    def step(g, lr):
        nonlocal m
        c = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        return math.copysign(lr, c) if c != 0 else 0.0

    return step


RULES = {f.__name__: f for f in (sgd, adam, amsgrad, adagrad, adadelta, rmsprop, lion)}


def run(rule, grads, reg, lam, theta0, *, schedule=None, lr, **hp):
    """theta before the first step and after each, as a list; `schedule` holds lr_t / lr."""
    step = RULES[rule](**hp)
    thetas = [theta0]
    for s, g in zip(schedule or [1.0] * len(grads), grads, strict=True):
        theta = thetas[-1]
        if reg == "none":
            new = theta - step(g, lr * s)
        elif reg == "l2":  # the gradient of loss + lam / 2 * theta^2
            new = theta - step(g + lam * theta, lr * s)
        elif reg == "wd":  # paper, section 2.1: a share lam is lost after the update
            new = theta - step(g, lr * s)
            new -= lam * s * new
        elif reg == "adamw":  # torch.optim.AdamW: a share lr * lam is lost before the update
            new = theta - lr * s * lam * theta
            new -= step(g, lr * s)
        else:
            raise ValueError(reg)
        thetas.append(new)
    return thetas


def run_lanes(rule, rows, reg, lam, theta0, **hp):
    """`run` for every column of `rows` (steps, lanes); rows of theta, one more than given."""
    columns = [run(rule, list(c), reg, lam, theta0, **hp) for c in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]
