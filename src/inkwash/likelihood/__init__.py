"""Likelihood: the variational bound of a Markov chain, the probability flow ODE of a continuous path."""
