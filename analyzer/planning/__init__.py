"""Before a rollout: how long checks will take (`plan`), and how a policy fares on a service's past (`calibration`).

`assumptions` holds what a plan supposes, `past` reads and splits what a service counted, `tables` prints.
"""
