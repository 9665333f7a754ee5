//! Sets that are mounted: what programs see, and what the legs are like afterwards.
#![allow(clippy::expect_used, missing_docs)]

mod compare;
mod failing;
mod faulty;
mod place;
mod posix;
mod programs;
