//! The use-cases of the control plane and the loop that makes wishes come true.
