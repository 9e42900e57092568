"""The kinds of task (segmentation, detection, refinement) as data, one module each."""

from parafovea.kinds.kind import Kind, LayoutName, kind_named, kinds

__all__ = ["Kind", "LayoutName", "kind_named", "kinds"]
