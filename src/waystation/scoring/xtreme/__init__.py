"""XTREME's nine tasks (Hu et al. 2020): the layout of a submission, its scores, its checks."""
