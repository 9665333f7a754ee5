//! `cowtool mount`, as its users meet it: the host's kernel is on the other side of every test, and its own ext4, on a loop mount of the
//! merged image, says what is right. A test that may not mount says so.

mod files;
mod fixtures;
mod life;
mod model;
mod place;
mod programs;
