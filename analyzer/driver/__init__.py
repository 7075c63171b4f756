"""Walks a canary whose own resource owns the traffic: KServe's InferenceService, Seldon's SeldonDeployment, Experiment.

Argo Rollouts cannot shift their traffic, so ``analyzer rollout`` moves the weight in the resource, step by step, and
asks for a verdict at each. It keeps nothing: where a rollout stands is read from the resource at every turn (its
weight, its generation, and by ``managedFields`` who moved it last), so what was killed goes on from there.
"""
