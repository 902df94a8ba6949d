"""TaI-DPT: prompts learned from captions that recognise many objects in images.

The method of *Texts as Images in Prompt Tuning for Multi-Label Image Recognition* (CVPR 2023)
as a plug-in for the prompt-learning toolbox Dassl. ``import tai_dpt.datasets,
tai_dpt.trainers`` registers everything.
"""

__version__ = "0.1.0"
