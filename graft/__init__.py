"""Graft: transfer learning for image classification. Each folder is one subject; docs/design.md has their order."""

import graft.core.environment  # noqa: F401  before anything can import TensorFlow
