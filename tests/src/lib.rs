//! What the whole-program tests share. The programs are run as their users run them: nothing here links with
//! their code, and the COW layout is written down once more (`raw`), independently of `cow-format`.

mod cases;
mod fixture;
mod guest;
mod host;
mod programs;
mod raw;
mod run;
mod sample;
mod scatter;
mod served;
mod tree;

pub use cases::{CASES, Case, Effect};
pub use fixture::{Fixture, KILLED, MERGED};
pub use guest::{Guest, Lab};
pub use host::{NOBODY, is_root, missing, owned_by_nobody, private_mounts, skipped};
pub use programs::{Program, cowtool, real_moo, uml_moo};
pub use raw::{RawCow, RawFile, qemu_x86_64};
pub use run::{Ran, run, run_within, sh};
pub use sample::{Place, pattern, write_at};
pub use scatter::Scatter;
pub use served::Served;
pub use tree::{Tree, sha256};
