//! Command lines, good and wrong, and what the programs say of themselves.

use std::fs;
use std::process::Command;
use whole_program_tests::*;

/// Subcommands whose good command lines want a mount: tests/mount has them.
const MOUNTS: [&str; 2] = ["mount", "umount"];

/// Every program as a whole, and every subcommand.
fn programs() -> Vec<(Program, Vec<&'static str>, i32)> {
    let mut all = vec![(Program::Moo, vec![], 1), (Program::Cowtool, vec![], 2)];
    let mut seen = Vec::new();
    for case in CASES {
        if let Some(name) = case.subcommand()
            && !seen.contains(&name)
        {
            seen.push(name);
            all.push((case.program, vec![name], case.usage));
        }
    }
    all.extend(MOUNTS.map(|name| (Program::Cowtool, vec![name], 2)));
    all
}

#[test]
fn help_and_version() {
    for (program, args, _) in programs() {
        for flag in ["--help", "-h"] {
            let ran = run(program.command().args(&args).arg(flag)).expect(0);
            assert!(ran.stdout.contains("Usage: "), "{}:\n{}", ran.command, ran.stdout);
            assert!(ran.stdout.contains(program.name()), "{}:\n{}", ran.command, ran.stdout);
            assert_eq!(ran.stderr, "", "{}", ran.command);
        }
        let ran = run(program.command().args(&args).arg("--version")).expect(0);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        assert!(ran.stdout.starts_with(program.name()), "{}: {}", ran.command, ran.stdout);
        assert!(ran.stdout.trim_end().ends_with(env!("CARGO_PKG_VERSION")), "{}", ran.stdout);
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn the_table_names_every_subcommand() {
    let help = run(cowtool().arg("--help")).expect(0).stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    for line in commands.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        let known = CASES.iter().any(|c| c.subcommand() == Some(name));
        assert!(known || MOUNTS.contains(&name) || name == "help", "{name} is not in the table of cases");
    }
}

#[test]
fn wrong_command_lines() {
    let place = Place::new();
    let before = place.tree();
    for (program, args, usage) in programs() {
        // Some take any number of paths.
        let any = ["ls", "cat", "find", "extract", "put", "rm", "tar-out"];
        let too_many = if args.iter().any(|a| any.contains(a)) { &[][..] } else { &["a", "b", "c", "d"] };
        for wrong in [&["--no-such-option"][..], too_many] {
            let ran = run(program.command().args(&args).args(wrong).current_dir(place.dir())).expect(usage);
            assert_eq!(ran.stdout, "", "{}", ran.command);
            assert!(ran.stderr.starts_with("error: "), "{}: {}", ran.command, ran.stderr);
        }
    }
    for (program, usage) in [(Program::Moo, 1), (Program::Cowtool, 2)] {
        let ran = run(&mut program.command()).expect(usage);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("Usage: "), "{}", ran.stderr);
    }
    before.expect_same(place.dir(), "wrong command lines");
}

#[test]
fn options_come_in_any_order() {
    let (there, back) = (["-d", "-b", "base.img", "top.cow"], ["top.cow", "-b", "base.img", "-d"]);
    for args in [there, back, ["-b", "base.img", "-d", "top.cow"], ["-b", "base.img", "top.cow", "-d"]] {
        let place = Place::new();
        run(uml_moo().args(args).current_dir(place.dir())).expect(0);
        assert_eq!(fs::read(place.path("base.img")).unwrap(), fs::read(place.path("changed.img")).unwrap());
    }
    for args in [
        ["-b", "base.img", "top.cow", "new"],
        ["top.cow", "-b", "base.img", "new"],
        ["top.cow", "new", "-b", "base.img"],
    ] {
        let place = Place::new();
        run(uml_moo().args(args).current_dir(place.dir())).expect(0);
        assert_eq!(fs::read(place.path("new")).unwrap(), fs::read(place.path("changed.img")).unwrap());
    }
}

/// The good command lines, what they do to the files, and their JSON.
#[test]
fn good_command_lines() {
    for case in CASES {
        for json in [false, true] {
            let place = Place::new();
            let before = place.tree();
            let mut command = case.good(place.dir());
            if json {
                command.args(if case.program == Program::Moo { &["--json"][..] } else { &["--output=json"] });
            }
            let ran = run(&mut command).expect(case.success);
            assert_eq!(ran.stderr, "", "{}", ran.command);
            let prints_no_json = ["completions", "manual page", "cat", "serve"].contains(&case.name);
            if json && !prints_no_json {
                for line in ran.stdout.lines() {
                    let value: serde_json::Value =
                        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", ran.command));
                    assert!(value.is_object(), "{line}");
                }
            } else if case.program == Program::Moo && case.name.contains("dry run") {
                assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
            } else if case.program == Program::Moo {
                assert_eq!(ran.stdout, "", "the old tool says nothing when all goes well");
            }
            let changes = before.changes(&place.tree());
            let own = |c: &String| [".cow-log", ".cow-tree"].iter().any(|s| c.ends_with(s));
            match case.effect {
                Effect::Reads => assert!(changes.is_empty(), "{}: {changes:?}", case.name),
                Effect::Makes => {
                    assert!(changes.contains(&"+new".to_owned()), "{}: {changes:?}", case.name);
                    assert!(changes.iter().all(|c| c == "+new" || own(c)), "{}: {changes:?}", case.name);
                }
                Effect::Changes => {
                    assert!(!changes.iter().any(|c| c.contains(".part")), "{}: {changes:?}", case.name);
                }
            }
        }
    }
}

#[test]
fn the_manual_pages() {
    let dir = tempfile::tempdir().unwrap();
    run(cowtool().arg("man").arg(dir.path())).expect(0);
    let pages = fs::read_dir(dir.path()).unwrap().count();
    let subcommands: std::collections::BTreeSet<_> = CASES.iter().filter_map(Case::subcommand).collect();
    assert!(pages > subcommands.len(), "{pages} pages");
    for name in [
        "mount", "umount", "serve", "status", "diff", "ls", "cat", "find", "extract", "put", "rm", "tar-in",
        "tar-out", "merge",
    ] {
        let page = fs::read_to_string(dir.path().join(format!("cowtool-{name}.1"))).unwrap();
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""]
        {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{name}: no {section}");
        }
    }
    if !missing("what mandoc and man say of the manual pages", &["mandoc", "man"]) {
        for page in fs::read_dir(dir.path()).unwrap() {
            let page = page.unwrap().path();
            run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page)).expect(0);
            let shown =
                run(Command::new("man").args(["--warnings", "-E", "UTF-8", "-l"]).arg(&page)).expect(0);
            assert!(shown.stderr.is_empty() && shown.stdout.contains("SYNOPSIS"), "{}", shown.stderr);
        }
    }
    let line = run(cowtool().args(["man", "/nowhere/at/all"])).fails_with(1);
    assert!(line.contains("/nowhere/at/all"), "{line}");
}
