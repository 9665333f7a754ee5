//! Images of file systems: made of a tree, and looked into after a guest had them.

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Makes an image of a tree, with these arguments of mke2fs.
pub(crate) fn make(image: &Path, tree: &Path, arguments: &[&str], size: &str) {
    let mut all = vec!["-q", "-F", "-d", tree.to_str().expect("a path")];
    all.extend(arguments);
    all.extend([image.to_str().expect("a path"), size]);
    let made = output("mke2fs", &all);
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// Makes an image of what a COW disk shows; e2fsck finds nothing in it.
pub(crate) fn flatten(cow: &Path, image: &Path) {
    let form = cow_ops::Form::Raw;
    cow_ops::convert(cow, image, form, None, &block_device::Unobserved).expect("it is converted");
    let checked = output("e2fsck", &["-fn", image.to_str().expect("a path")]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
}

/// What debugfs has to say of an image.
pub(crate) fn debugfs(image: &Path, request: &str) -> String {
    text(&output("debugfs", &["-R", request, image.to_str().expect("a path")]).stdout)
}
