import numpy as np


def judge(cell, data, rule):
    return np.full(cell.runs, -1), np.full(cell.runs, -1)


def weight_of(onset):
    return 0.5
