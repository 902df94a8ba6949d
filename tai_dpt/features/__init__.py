"""What the frozen encoders give, and the store that keeps it."""

from tai_dpt.features.build import StorePlan, check_stores
from tai_dpt.features.options import StoreOptions
from tai_dpt.features.packed import AnyFeatures, PackedFeatures
from tai_dpt.features.store import FeatureStore, OnDemandStore
from tai_dpt.features.types import Features

__all__ = [
    "AnyFeatures",
    "FeatureStore",
    "Features",
    "OnDemandStore",
    "PackedFeatures",
    "StoreOptions",
    "StorePlan",
    "check_stores",
]
