"""The trainers; importing this package registers all of them with the toolbox."""

from tai_dpt.trainers.config import extend_cfg
from tai_dpt.trainers.tai_dpt import TaIDPT
from tai_dpt.trainers.zsclip import ZSCLIP

__all__ = ["ZSCLIP", "TaIDPT", "extend_cfg"]
