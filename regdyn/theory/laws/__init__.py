"""Closed forms: each is one function that returns ``Law(value, valid, reason)``.

Which one for a given case::

    time_to(hp, reg, lam, sigma, theta0=1, theta1=0.5)     steps until the mean is at theta1
    late_std(hp, reg, lam, sigma, theta0=1, steps=inf)     standard deviation in the long run

The laws, by file. `hp` are a rule's hyper-parameters, gradients independent N(0, sigma^2):

weight_decay   wd_mean, wd_time, wd_std          every rule, under `wd` and `adamw`
heavy_ball     heavy_ball, sgd_l2_means, sgd_l2_time, sgd_l2_std    SGD, momentum, Nesterov
gaussian       phi, slope, square_step, noise_gain    averages over a fluctuating v
adam_time      F, adam_l2_time, adam_l2_noiseless_time    Adam and RMSprop + l2: how long
burst          burst_delay, burst_time           the same after a burst of gradient
adam_floor     adam_l2_std, edge_floor, eps_endgame    the same: where theta ends
mean_field     mean_field_time                   the recursion of the means, where nothing else
amsgrad        amsgrad_vmax, amsgrad_burst, amsgrad_l2_time, amsgrad_l2_std
adagrad        adagrad_noise_time, adagrad_decay_time, adagrad_l2_time, adagrad_l2_std
adadelta       adadelta_X, adadelta_l2_time, adadelta_l2_std
signs          sign_std, sign_noise, lion_l2_time, lion_l2_std    Lion
rare           rare_wd, rare_l2                  a gradient with a mean: where theta stops
crossover      crossover                         where Adam + l2 becomes slower than wd

A law is valid if the terms that it neglects are estimated at 2 % of its value or less. How often
that is right, on random settings: ``python -m sims laws-check``; docs/laws has the derivations.
"""

from regdyn.theory.laws.adadelta import adadelta_l2_std, adadelta_l2_time, adadelta_X
from regdyn.theory.laws.adagrad import (
    adagrad_decay_time,
    adagrad_l2_std,
    adagrad_l2_time,
    adagrad_noise_time,
)
from regdyn.theory.laws.adam_floor import adam_l2_std, edge_floor, eps_endgame
from regdyn.theory.laws.adam_time import F, adam_l2_noiseless_time, adam_l2_time
from regdyn.theory.laws.amsgrad import (
    amsgrad_burst,
    amsgrad_l2_std,
    amsgrad_l2_time,
    amsgrad_vmax,
)
from regdyn.theory.laws.burst import burst_delay, burst_time
from regdyn.theory.laws.choose import late_std, time_to
from regdyn.theory.laws.crossover import crossover
from regdyn.theory.laws.gaussian import noise_gain, phi, slope, square_step
from regdyn.theory.laws.heavy_ball import heavy_ball, sgd_l2_means, sgd_l2_std, sgd_l2_time
from regdyn.theory.laws.law import TOLERANCE, Law
from regdyn.theory.laws.mean_field import mean_field_time
from regdyn.theory.laws.rare import rare_l2, rare_wd
from regdyn.theory.laws.signs import lion_l2_std, lion_l2_time, sign_noise, sign_std
from regdyn.theory.laws.weight_decay import wd_mean, wd_std, wd_time

__all__ = [
    "TOLERANCE",
    "F",
    "Law",
    "adadelta_X",
    "adadelta_l2_std",
    "adadelta_l2_time",
    "adagrad_decay_time",
    "adagrad_l2_std",
    "adagrad_l2_time",
    "adagrad_noise_time",
    "adam_l2_noiseless_time",
    "adam_l2_std",
    "adam_l2_time",
    "amsgrad_burst",
    "amsgrad_l2_std",
    "amsgrad_l2_time",
    "amsgrad_vmax",
    "burst_delay",
    "burst_time",
    "crossover",
    "edge_floor",
    "eps_endgame",
    "heavy_ball",
    "late_std",
    "lion_l2_std",
    "lion_l2_time",
    "mean_field_time",
    "noise_gain",
    "phi",
    "rare_l2",
    "rare_wd",
    "sgd_l2_means",
    "sgd_l2_std",
    "sgd_l2_time",
    "sign_noise",
    "sign_std",
    "slope",
    "square_step",
    "time_to",
    "wd_mean",
    "wd_std",
    "wd_time",
]
