"""The datasets; importing this package registers all of them with the toolbox."""

from tai_dpt.datasets.coco_format import CocoFormat

__all__ = ["CocoFormat"]
