use super::*;
use crate::base::Errno;
use crate::fs::{FileSystem, Inode, OpenFlags, SetAttr};

fn sample() -> Arc<Pseudo> {
    let sub = Fixed::new().text("b", "bee\n");
    let root = Fixed::new().text("a", "ay\n").dir("d", sub).link("l", "d/b");
    Pseudo::new("sample", 7, true, root.node(0o755))
}

fn names(inode: &Arc<dyn Inode>, from: u64) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    inode
        .entries(from, &mut |e| {
            all.push(e.name);
            true
        })
        .unwrap();
    all
}

#[test]
fn listings_go_on_where_they_stopped() {
    let root = sample().root();
    assert_eq!(names(&root, 0), [b"a", b"d", b"l"]);
    assert_eq!(names(&root, 3), [b"d", b"l"]);
    assert_eq!(names(&root, 5), Vec::<Vec<u8>>::new());
    assert_eq!(names(&root, u64::MAX), Vec::<Vec<u8>>::new());
}

#[test]
fn nodes_answer_by_their_type() {
    let root = sample().root();
    assert_eq!(root.attr().unwrap().nlink, 3);
    let file = root.lookup(b"a").unwrap();
    assert_eq!(file.lookup(b"x").err(), Some(Errno::ENOTDIR));
    assert_eq!(file.read_link().err(), Some(Errno::EINVAL));
    assert_eq!(root.lookup(b"l").unwrap().read_link().unwrap(), b"d/b");
    assert_eq!(root.lookup(b"nothing").err(), Some(Errno::ENOENT));
    assert!(root.lookup(b"l").unwrap().open(OpenFlags::empty()).is_err());
    // Opening with O_TRUNC cuts nothing and does not fail; changing the mode does.
    assert!(file.set_attr(&SetAttr { size: Some(0), ..SetAttr::default() }).is_ok());
    assert!(file.set_attr(&SetAttr { mode: Some(0o777), ..SetAttr::default() }).is_err());
}

#[test]
fn nothing_can_be_made_or_removed() {
    let root = sample().root();
    assert_eq!(root.unlink(b"a"), Err(Errno::EPERM));
    assert_eq!(root.rmdir(b"d"), Err(Errno::EPERM));
}
