//! A real build, with `make -j2`, in the guest and on the host: the same files come out.

#![allow(clippy::expect_used)]

use std::process::{Command, Stdio};

/// A C project of some 50 files with a library, programs and tests, as a shell script that writes it.
const PROJECT: &str = r##"
mkdir -p src include tests
n=0
while [ $n -lt 48 ]; do
    cat > include/f$n.h <<END
int f$n(int x);
END
    cat > src/f$n.c <<END
#include "f$n.h"
#include <string.h>
#include <stdlib.h>
static int twist(int x) { char b[64]; memset(b, x, sizeof b); return b[$n] * $n + abs(x); }
int f$n(int x) { int s = 0; for (int i = 0; i < x; i++) s += twist(i) ^ $n; return s; }
END
    n=$((n+1))
done
{ for n in $(seq 0 47); do echo "#include \"f$n.h\""; done; echo '#include <stdio.h>'
  echo 'int main(void) {'; for n in $(seq 0 47); do echo "printf(\"%d \", f$n($n));"; done; echo 'return 0; }'; } > tests/all.c
printf '#include "f3.h"\nint main(void) { return f3(0); }\n' > tests/zero.c
cat > Makefile <<'END'
OBJS := $(patsubst src/%.c,build/%.o,$(wildcard src/*.c))
CFLAGS := -O1 -Iinclude
all: build/libf.a build/all build/zero check
build/%.o: src/%.c
	@mkdir -p build
	$(CC) $(CFLAGS) -c $< -o $@
build/libf.a: $(OBJS)
	ar rcD $@ $^
build/%: tests/%.c build/libf.a
	$(CC) $(CFLAGS) $< build/libf.a -o $@
check: build/all build/zero
	./build/all > build/all.out
	./build/zero
.PHONY: all check
END
"##;

#[test]
fn a_parallel_build_makes_the_same_tree() {
    let list = "make -s -j2 >/dev/null && find . -type f | sort | xargs sha256sum && find . -type d | sort && make -q; echo $?";
    let script = format!("{PROJECT}\n{list}");
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("sh");
    let host =
        command.args(["-c", &script]).current_dir(dir.path()).env("LC_ALL", "C").output().expect("it runs");
    let host = String::from_utf8_lossy(&host.stdout).into_owned();
    assert!(host.lines().count() > 150, "the host's own build failed: {host}");
    // The same place, empty again, so that paths in the objects are equal, too.
    std::fs::remove_dir_all(dir.path()).expect("it can go");
    std::fs::create_dir(dir.path()).expect("it can be made");
    for (words, user) in [(&[][..], false), (&["ncpus=2"][..], false), (&["ncpus=2"][..], true)] {
        let mut command = if user && rustix::process::getuid().is_root() {
            // As an unprivileged user of the host.
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(dir.path(), everybody).expect("it is ours");
            let kernel = std::env::temp_dir().join(format!("uml-kernel-{}", std::process::id()));
            std::fs::copy(env!("CARGO_BIN_EXE_uml-kernel"), &kernel).expect("it can be copied");
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(kernel);
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_uml-kernel"))
        };
        command.arg("run").args(words).args(["--", "sh", "-c", &script]);
        let guest = command
            .current_dir(dir.path())
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&guest.stdout);
        assert!(
            text == host,
            "{words:?}, another user: {user}: {}\n{text}",
            String::from_utf8_lossy(&guest.stderr)
        );
    }
    let _ = std::fs::remove_file(std::env::temp_dir().join(format!("uml-kernel-{}", std::process::id())));
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("it is there").count(),
        0,
        "the host's directory was written to"
    );
}
