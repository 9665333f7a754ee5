//! The tree, mounted.
