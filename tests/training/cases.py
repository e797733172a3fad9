"""Training cases of the catalogue, small and large."""

from dataclasses import replace

from moewright.case.case import Case
from moewright.case.catalogue.hardware_catalogue import load_cluster
from moewright.case.catalogue.model_catalogue import load_model
from moewright.case.train.recipe import RECIPES
from moewright.case.train.train_strategy import Schedule, TrainStrategy
from moewright.case.train.train_workload import Training
from moewright.case.workload import Kind, Workload


def case_of(model="DeepSeek-V2", cluster="dgx-b200", gpus=8, layers=None, domain=None, **figures):
    """A case of training ``layers`` layers of ``model``; ``figures`` of the workload."""
    made = load_model(model)
    if layers is not None:
        made = replace(made, layers=(*made.layers[:1], *made.layers[len(made.layers) - layers + 1 :]))
    figures = {"global_batch": 32, "sequence": 4096, "balanced": True} | figures
    figures["recipe"] = RECIPES[figures.get("recipe", "bf16")]
    training = Training(**figures)
    workload = Workload(Kind.FORWARD, (training.global_batch,), training.sequence)
    return Case(made, load_cluster(cluster, gpus, domain), workload, training=training)


def strategy_of(**sizes):
    """One rank of everything, but ``sizes``."""
    plain = dict.fromkeys(("dp", "cp", "tp", "pp", "virtual", "ep", "etp", "micro_batch"), 1)
    if sizes.get("virtual", 1) > 1:
        plain["schedule"] = Schedule.INTERLEAVED
    return TrainStrategy(**(plain | sizes))
