//! What is kept on each leg.
