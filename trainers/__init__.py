"""The trainers; importing this package registers all of them with the toolbox."""

from tai_dpt.io.module_alias import alias_package
from tai_dpt.trainers.comc import CoMC
from tai_dpt.trainers.concepts import Concepts
from tai_dpt.trainers.config import extend_cfg
from tai_dpt.trainers.dual_prompt import DualPrompt
from tai_dpt.trainers.dualcoop import DualCoOp
from tai_dpt.trainers.ensemble import TaIDPTEnsemble
from tai_dpt.trainers.ml_coop import MLCoOp
from tai_dpt.trainers.piaa import PIAA
from tai_dpt.trainers.sparc import SPARC
from tai_dpt.trainers.tai_dpt import TaIDPT
from tai_dpt.trainers.zsclip import ZSCLIP

__all__ = [
    "PIAA",
    "SPARC",
    "ZSCLIP",
    "CoMC",
    "Concepts",
    "DualCoOp",
    "DualPrompt",
    "MLCoOp",
    "TaIDPT",
    "TaIDPTEnsemble",
    "extend_cfg",
]

if __name__ == "trainers":  # imported from a checkout, as CoOp's scripts do
    alias_package("trainers", "tai_dpt.trainers")
