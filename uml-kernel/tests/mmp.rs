//! A disk with multiple mount protection (ext4's `mmp`) that two guests have at once.

#![allow(clippy::expect_used)]

#[allow(dead_code, reason = "of what tests share")]
mod guest;
#[allow(dead_code, reason = "of what tests share")]
mod image;

use guest::{Guest, Root};
use image::{output, text};

#[test]
fn a_disk_that_another_guest_has_mounted_is_refused_until_that_is_gone() {
    let root = Root::new(&["-t", "ext4"]);
    let shared = root.path("shared.img");
    let path = shared.to_str().expect("a path");
    let made =
        output("mke2fs", &["-q", "-t", "ext4", "-O", "mmp", "-E", "mmp_update_interval=1", path, "20M"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    // Not locked on the host (c): the protection is on the disk alone.
    let boot = |cow: &str| {
        let mut guest =
            Guest::boot(&root, &[&format!("ubd0={cow},base.img"), "rw", "ubd1c=shared.img", "con=null"]);
        guest.wait_for("/ # ");
        guest
    };
    let mut first = boot("a.cow");
    first.type_line("mount -t ext4 /dev/ubdb /mnt && echo kept > /mnt/file && sync && echo mou''nted");
    first.wait_for("mounted\r\n");
    let mut second = boot("b.cow");
    second.type_line(
        "mount -t ext4 /dev/ubdb /mnt || echo refu''sed; dmesg | grep 'ext4: ubdb'; echo that is a''ll",
    );
    second.wait_for("refused\r\n");
    let why = second.wait_for("that is all\r\n");
    assert!(why.contains(&format!("pid {}", first.id())), "{why}");
    // Whoever was killed says nothing any more: after a while the disk is free, and what was synced is there.
    first.kill();
    second.type_line("mount -t ext4 /dev/ubdb /mnt && cat /mnt/file && umount /mnt && echo ta''ken");
    second.wait_for("kept\r\n");
    second.wait_for("taken\r\n");
    second.type_line("poweroff");
    assert_eq!(second.end(), Some(0));
    let checked = output("e2fsck", &["-fn", path]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let header = text(&output("dumpe2fs", &["-h", path]).stdout);
    assert!(header.contains("Filesystem state:         clean"), "{header}");
}
