//! Root file systems as stacks of layers.
