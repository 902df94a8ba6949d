"""Yaml files of datasets and trainers, merged as CoOp merges them."""
