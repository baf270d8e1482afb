"""What a customer will buy and spend: BG/NBD and Gamma-Gamma, fitted by maximum likelihood.

BG/NBD: Fader, Hardie & Lee (2005), "Counting your customers" the easy way, Marketing Science 24(2). While a customer is
alive they buy at a rate of their own (gamma distributed over customers), and after each purchase they leave for good
with a chance of their own (beta distributed). Gamma-Gamma: Fader & Hardie (2013), "The Gamma-Gamma model of monetary
value": what a purchase is worth varies around each customer's own mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resources.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_STARTS = (0.0, 0.7, -0.7)  # logarithms of all parameters at which the search begins; the best end counts
_PARAMETERS_OF_LEAVING = 2
_EDGE = 12.0  # logarithms of parameters between which is searched
_NEAR_ONE = 1e-7  # the expectation has a removable gap where a is one
_NODES, _LEAST_CHANCE = 64, 1e-12  # of an integral


@dataclass(frozen=True)
class History:
    """What is known of n customers: repeat purchases, time from the first to the last purchase and to today.

    ``frequency``, ``recency`` and ``age`` are [n]; the two times are in one unit, whichever it is.
    """

    frequency: Floats
    recency: Floats
    age: Floats

    def __post_init__(self) -> None:
        """Raise ValueError for what no history can be."""
        wrong = (self.frequency < 0) | (self.recency < 0) | (self.recency > self.age)
        wrong |= (self.frequency == 0) & (self.recency > 0)
        if wrong.any():
            msg = f"{int(wrong.sum()):,} of {len(wrong):,} customers bought last before the first time or after today"
            raise ValueError(msg)


@dataclass(frozen=True)
class BgNbd:
    """A fitted BG/NBD: purchase rates are gamma(r, alpha), the chances of leaving beta(a, b).

    ``gain`` is how far its log-likelihood is above that of the best model in which nobody leaves (NBD).
    """

    r: float
    alpha: float
    a: float
    b: float
    gain: float = 0.0

    @property
    def tells_leaving(self) -> bool:
        """Whether the data tell how often customers leave.

        Not where the search ended at the edge of what it tries, nor where two parameters less tell as much (Akaike
        1974): the likelihood is flat there, and where on it the search stops is luck.
        """
        return bool(np.abs(np.log([self.a, self.b])).max() < _EDGE - 0.1 and self.gain > _PARAMETERS_OF_LEAVING)

    def log_likelihood(self, history: History) -> float:
        """Log-likelihood of histories, summed over customers."""
        return float(_log_likelihood(np.log([self.r, self.alpha, self.a, self.b]), history)[0])

    def alive(self, history: History) -> Floats:
        """P(the customer has not left) [n]; one without a repeat purchase cannot have left in this model."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        x, t_x, age = history.frequency, history.recency, history.age
        left = np.exp((r + x) * (np.log(alpha + age) - np.log(alpha + t_x))) * a / (b + np.maximum(x, 1) - 1)
        return np.where(x > 0, 1 / (1 + left), 1.0)

    def expected(self, history: History, time: float) -> Floats:
        """Expected purchases [n] within ``time`` from today (equation 10 of the paper).

        Where the hypergeometric function is beyond what floats hold (customers who all buy at one rate), its integral
        over the chance of leaving is summed up instead.
        """
        from scipy.special import hyp2f1

        r, alpha, b = self.r, self.alpha, self.b
        a = self.a if abs(self.a - 1) > _NEAR_ONE else 1 + _NEAR_ONE
        x, age = history.frequency, history.age
        shape, span = r + x, alpha + age
        hypergeometric = hyp2f1(shape, b + x, a + b + x - 1, time / (span + time))
        stays = 1 - np.exp(shape * np.log(span / (span + time))) * hypergeometric
        alive = self.alive(history)
        found: Floats = (a + b + x - 1) / (a - 1) * stays * alive
        most = shape * time / span  # by customers who cannot leave
        lost = ~np.isfinite(found) | (found > most * (1 + _NEAR_ONE))
        if lost.any():
            found[lost] = self._summed(x[lost], age[lost], time) * alive[lost]
        return np.maximum(found, 0.0)

    def _summed(self, x: Floats, age: Floats, time: float) -> Floats:
        """Expected purchases [n] of customers who have not left: the mean of (1 - E exp(-rate p time)) / p over p."""
        from scipy.special import betaincinv

        at, weight = np.polynomial.legendre.leggauss(_NODES)
        # Of leaving after a purchase; where it is nought, the quotient below is its limit to the last digits.
        chance = np.maximum(betaincinv(self.a, (self.b + x)[:, None], (at + 1) / 2), _LEAST_CHANCE)
        per_purchase = np.log1p(chance * time / (self.alpha + age)[:, None])
        shape = (self.r + x)[:, None]
        found: Floats = -np.expm1(-shape * per_purchase) / chance @ weight / 2
        return found


def fit_bg_nbd(history: History) -> BgNbd:
    """Fit to histories. Raises TrainingError where nobody has bought twice, or the search does not settle."""
    if not (history.frequency > 0).any():
        msg = "BG/NBD: no customer has bought twice, so nothing tells how often anybody comes back."
        raise TrainingError(msg)
    # A unit of time in which ages are about ten keeps the likelihood well scaled; only alpha has that unit.
    unit = float(history.age.max()) / 10 or 1.0
    scaled = History(history.frequency, history.recency / unit, history.age / unit)
    r, alpha, a, b = _fit("BG/NBD", lambda log: _log_likelihood(log, scaled), 4)

    def nobody_leaves(log: Floats) -> tuple[float, Floats]:
        value, gradient = _log_likelihood(np.append(log, [-_EDGE, _EDGE]), scaled)
        return value, gradient[:2]

    simple = np.log(_fit("NBD", nobody_leaves, 2))
    gain = _log_likelihood(np.log([r, alpha, a, b]), scaled)[0] - nobody_leaves(simple)[0]
    return BgNbd(r, alpha * unit, a, b, gain)


def _log_likelihood(log: Floats, history: History) -> tuple[float, Floats]:
    """Log-likelihood and its gradient by the logarithms of r, alpha, a and b."""
    from scipy.special import digamma, gammaln

    r, alpha, a, b = np.exp(log)
    x, t_x, age = history.frequency, history.recency, history.age
    repeat = x > 0
    often = np.maximum(x, 1)
    one = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    two = gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    alive = -(r + x) * np.log(alpha + age)
    left = np.where(repeat, np.log(a) - np.log(b + often - 1) - (r + x) * np.log(alpha + t_x), -np.inf)
    both = np.logaddexp(alive, left)
    total = float((one + two + both).sum())
    p_alive = np.exp(alive - both)
    p_left = 1 - p_alive
    by_r = digamma(r + x) - digamma(r) + np.log(alpha) - p_alive * np.log(alpha + age) - p_left * np.log(alpha + t_x)
    by_alpha = r / alpha - (r + x) * (p_alive / (alpha + age) + p_left / (alpha + t_x))
    by_a = digamma(a + b) - digamma(a + b + x) + p_left / a
    by_b = digamma(a + b) - digamma(a + b + x) + digamma(b + x) - digamma(b) - p_left / (b + often - 1)
    gradient = np.array([by_r.sum() * r, by_alpha.sum() * alpha, by_a.sum() * a, by_b.sum() * b])
    return total, gradient


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma: purchases of a customer are gamma(p, nu), nu over customers gamma(q, v)."""

    p: float
    q: float
    v: float

    def log_likelihood(self, count: Floats, mean: Floats) -> float:
        """Log-likelihood of the mean values [n] of so many purchases [n], summed."""
        return float(_value_likelihood(np.log([self.p, self.q, self.v]), count, mean)[0])

    def expected(self, count: Floats, mean: Floats) -> Floats:
        """Expected value [n] of the next purchase; of a customer without any, the population's mean.

        Where ``q`` is at most one the population has no mean, and neither has a customer without purchases (NaN).
        """
        weight = self.p * count + self.q - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = self.p * (self.v + count * mean) / weight
        return np.where(weight > 0, found, np.nan)


def fit_gamma_gamma(count: Floats, mean: Floats) -> GammaGamma:
    """Fit to the mean value ``mean`` [n] of ``count`` [n] purchases of each customer, all above 0.

    Raises TrainingError where fewer than two customers differ.
    """
    if len(count) < 2 or np.ptp(mean) == 0:  # noqa: PLR2004 - two customers can differ
        msg = "Gamma-Gamma: fewer than two customers differ in what they spend."
        raise TrainingError(msg)
    unit = float(np.exp(np.log(mean).mean()))
    p, q, v = _fit("Gamma-Gamma", lambda log: _value_likelihood(log, count, mean / unit), 3)
    return GammaGamma(p, q, v * unit)


def _value_likelihood(log: Floats, count: Floats, mean: Floats) -> tuple[float, Floats]:
    """Log-likelihood and its gradient by the logarithms of p, q and v."""
    from scipy.special import digamma, gammaln

    p, q, v = np.exp(log)
    shape, total = p * count, count * mean + v
    likelihood = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v)
    likelihood += (shape - 1) * np.log(mean) + shape * np.log(count) - (shape + q) * np.log(total)
    by_p = count * (digamma(shape + q) - digamma(shape) + np.log(mean) + np.log(count) - np.log(total))
    by_q = digamma(shape + q) - digamma(q) + np.log(v) - np.log(total)
    by_v = q / v - (shape + q) / total
    return float(likelihood.sum()), np.array([by_p.sum() * p, by_q.sum() * q, by_v.sum() * v])


def _fit(name: str, likelihood: Callable[[Floats], tuple[float, Floats]], parameters: int) -> list[float]:
    """Parameters of the greatest likelihood, searched by their logarithms from several places."""
    from scipy.optimize import minimize

    def loss(log: Floats) -> tuple[float, Floats]:
        value, gradient = likelihood(log)
        return (-value, -gradient) if np.isfinite(value) else (1e300, np.zeros(parameters))

    found = [
        minimize(loss, np.full(parameters, start), jac=True, method="L-BFGS-B", bounds=[(-_EDGE, _EDGE)] * parameters,
                 options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 2000})
        for start in _STARTS
    ]  # fmt: skip
    best = min(found, key=lambda f: float(f.fun))
    if not np.isfinite(best.fun) or float(best.fun) >= 1e300:  # noqa: PLR2004 - what loss says of no likelihood
        msg = f"{name}: the likelihood has no maximum that can be found. Are the amounts or the times all alike?"
        raise TrainingError(msg)
    return [float(v) for v in np.exp(best.x)]
