"""For every process whose PYTHONPATH names this folder: the toy modality, whose training takes its time."""

from types import MappingProxyType

from components import modalities
from components.contracts import Modality

STAGES = {
    "dataset": "tests.contract.toy.stages:dataset",
    "train": "tests.deploy.slow:train",
    "evaluate": "tests.contract.toy.stages:evaluate",
}
TOY = Modality(
    name="toy",
    recipe="tests.contract.toy.stages:ToyRecipe",
    stages=MappingProxyType(STAGES),
    product="tests.contract.toy.product",
)
if __name__ == "sitecustomize":
    modalities.MODALITIES = MappingProxyType({**modalities.MODALITIES, "toy": TOY})
