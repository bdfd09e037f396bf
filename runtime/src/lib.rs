//! Puts a process in a box, and keeps boxes with names.
