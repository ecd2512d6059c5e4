//! Versioned records with compare-and-swap, in memory and on disk.
