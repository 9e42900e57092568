"""What a segmentation, a detection and a refinement is, as data: a module for each kind."""

from parafovea.kinds.kind import Kind, LayoutName, kind_named, kinds

__all__ = ["Kind", "LayoutName", "kind_named", "kinds"]
