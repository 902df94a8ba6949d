"""The datasets; importing this package registers all of them with the toolbox."""

from tai_dpt.datasets.captions_only import PlainCaptions
from tai_dpt.datasets.coco_format import CocoFormat
from tai_dpt.datasets.image_list import ImageList
from tai_dpt.datasets.nuswide import NUSWIDE
from tai_dpt.datasets.voc2007 import VOC2007
from tai_dpt.io.module_alias import alias_package

__all__ = ["NUSWIDE", "VOC2007", "CocoFormat", "ImageList", "PlainCaptions"]

if __name__ == "datasets":  # imported from a checkout, as CoOp's scripts do
    alias_package("datasets", "tai_dpt.datasets")
