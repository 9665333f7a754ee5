//! Sessions by flag, compared with the host's pty.

use crate::replay::{Session, Step, printed, read, typed};
use line_discipline::flags::*;
use line_discipline::{FlowAction, Termios};

/// The default settings with bits switched on (`+`) and off (`-`).
fn with(change: impl FnOnce(&mut Termios)) -> Termios {
    let mut termios = Termios::default();
    change(&mut termios);
    termios
}

fn raw() -> Termios {
    with(|t| {
        t.iflag = 0;
        t.oflag = 0;
        t.lflag = 0;
    })
}

/// Times a session is played before a difference counts. On a busy machine the host's worker may not have seen what was typed when
/// the next step comes; a difference of ours is there every time.
const ATTEMPTS: usize = 5;

/// Plays a session both without and in packet mode.
fn play(termios: Termios, steps: &[Step]) {
    for packet_mode in [false, true] {
        for attempt in 1.. {
            let whole = std::panic::catch_unwind(|| {
                let mut session = Session::new(termios, packet_mode);
                for step in steps {
                    session.step(step.clone());
                }
            });
            match whole {
                Ok(()) => break,
                Err(difference) if attempt == ATTEMPTS => std::panic::resume_unwind(difference),
                Err(_) => eprintln!("a difference at attempt {attempt}: once more"),
            }
        }
    }
}

/// Types each text, reading after each, with each of the settings.
fn type_all(settings: &[Termios], texts: &[&[u8]]) {
    for &termios in settings {
        let steps: Vec<Step> = texts.iter().flat_map(|text| [typed(text), read(), read()]).collect();
        play(termios, &steps);
    }
}

#[test]
fn a_line_is_edited() {
    let local = |bits: u32| with(move |t| t.lflag = ISIG | ICANON | IEXTEN | bits);
    let settings: Vec<Termios> = [
        0,
        ECHO,
        ECHONL,
        ECHO | ECHOE,
        ECHO | ECHOK,
        ECHO | ECHOE | ECHOK,
        ECHO | ECHOE | ECHOKE,
        ECHO | ECHOE | ECHOK | ECHOKE,
        ECHO | ECHOE | ECHOK | ECHOKE | ECHOCTL,
        ECHO | ECHOE | ECHOCTL | ECHOPRT,
        ECHO | ECHOPRT | ECHOK | ECHOKE | ECHOE,
        ECHO | ECHOCTL,
    ]
    .map(local)
    .to_vec();
    type_all(
        &settings,
        &[
            b"plain\n",
            b"ab\x7f\x7f\x7fc\n",
            b"one two_3  \x17x\n",
            b"one, two\x17\x17\x17\n",
            b"gone\x15kept\r",
            b"a\tb\t\x01\t\x7f\x7f\x7f\x7f\x7f\n",
            b"\t\t\x7f\x7f\n",
            b"\x01\x02\x7f\x7f\x7f\n",
            b"re\x01print\x12ed\n",
            b"lit\x16\x03\x16\x16\x16\x7f\x16\n\x7f\n",
            b"half\x04",
            b"\x04",
            b"ab\x7f",
            b"c\x7f\x7fd\n",
            b"\xc3\xa4\x7f\n",
        ],
    );
}

#[test]
fn without_iexten_extensions_are_text() {
    type_all(&[with(|t| t.lflag &= !IEXTEN)], &[b"a b\x17\x16\x12c\x7f\n", b"x\x15y\n"]);
}

#[test]
fn utf8_is_erased_by_characters() {
    let utf8 = with(|t| t.iflag |= IUTF8);
    let printing = with(|t| {
        t.iflag |= IUTF8;
        t.lflag |= ECHOPRT;
    });
    type_all(
        &[utf8, printing, with(|t| t.lflag |= ECHOPRT)],
        &[
            "a\u{e4}\u{20ac}\u{1f600}\x7f\x7f\x7f\x7f\n".as_bytes(),
            "\u{4e2d}\u{6587}\x7f\tx\x7f\x7f\n".as_bytes(),
            "\u{e4}\u{f6}\t\x7f\n".as_bytes(),
            "w\u{f6}rd w\u{f6}rd\x17\x15\n".as_bytes(),
            b"\x80\x80\x7f\x7f\n",
            b"a\x80\x7f\x7fz\n",
        ],
    );
}

#[test]
fn input_is_mapped() {
    let input = |bits: u32| with(move |t| t.iflag = bits);
    let settings = [
        input(0),
        input(ISTRIP),
        input(IUCLC),
        input(INLCR),
        input(IGNCR),
        input(ICRNL),
        input(INLCR | ICRNL),
        input(IGNCR | INLCR),
        input(PARMRK),
        input(PARMRK | ISTRIP),
        input(IMAXBEL | IXOFF | INPCK | IGNBRK | BRKINT),
    ];
    let texts: &[&[u8]] = &[b"Ab\r\n", b"C\xc1\xd7\xff\xe4\x8a\n", b"\xff\xff\x7f\n", b"x\ry\nz\n"];
    type_all(&settings, texts);
    for termios in settings {
        type_all(&[Termios { lflag: ECHO | ECHOCTL | IEXTEN, ..termios }], texts);
        type_all(&[Termios { lflag: 0, ..termios }], texts);
    }
}

#[test]
fn other_ends_of_line() {
    let ends = with(|t| {
        t.cc[VEOL] = b';';
        t.cc[VEOL2] = 0xff;
    });
    let marked = Termios { iflag: ends.iflag | PARMRK, ..ends };
    type_all(&[ends, marked, with(|t| t.cc[VERASE] = 0)], &[b"a;b\xff", b"c;\x7fd\x04", b"\x00\x7f\n"]);
}

#[test]
fn lines_are_read_in_parts() {
    let sizes = [1, 2, 3, 4, 5];
    for size in sizes {
        let mut steps = vec![typed(b"abc\x04de\n\x04\x04abcd\x04")];
        steps.extend((0..14).map(|_| Step::Read(size)));
        play(Termios::default(), &steps);
    }
    let long = [vec![b'x'; 64], vec![4], vec![b'y'; 130], vec![b'\n']].concat();
    play(Termios::default(), &[Step::Type(long), Step::Read(100), Step::Read(100), Step::Read(100), read()]);
}

#[test]
fn signals_flush() {
    for termios in [
        Termios::default(),
        with(|t| t.lflag |= NOFLSH),
        with(|t| t.lflag &= !ECHO),
        with(|t| t.lflag &= !ISIG),
        with(|t| t.lflag &= !ICANON),
    ] {
        for byte in [0x03, 0x1c, 0x1a] {
            let signal = [b'c', b'd', byte, b'e', b'\n'];
            play(termios, &[typed(b"line\nab"), typed(&signal), read(), read(), typed(b"f\n"), read()]);
            play(termios, &[typed(b"\x13xy"), typed(&[byte]), typed(b"z\n"), read(), printed(b"out")]);
        }
    }
}

#[test]
fn output_stops_and_starts() {
    let any = with(|t| t.iflag |= IXANY);
    for termios in [Termios::default(), any, with(|t| t.iflag &= !IXON), with(|t| t.lflag &= !ECHO)] {
        play(
            termios,
            &[
                typed(b"ab\x13cd"),
                printed(b"not now"),
                typed(b"e\x11f\n"),
                printed(b"now\n"),
                typed(b"\x13\x13"),
                printed(b"no"),
                typed(b"\n"),
                printed(b"?"),
                typed(b"\x11\x11"),
                printed(b"yes\n"),
                read(),
                read(),
                typed(b"\x13x"),
                Step::Set(Termios { iflag: termios.iflag & !IXON, ..termios }),
                printed(b"on"),
            ],
        );
        let mut tco = vec![printed(b"a"), Step::Flow(FlowAction::OutputOff), printed(b"b"), typed(b"q\x11r")];
        tco.extend([Step::Flow(FlowAction::InputOff), Step::Flow(FlowAction::OutputOff), printed(b"c")]);
        tco.extend([Step::Flow(FlowAction::OutputOn), printed(b"d"), Step::Flow(FlowAction::InputOff)]);
        tco.extend([Step::Flow(FlowAction::InputOn), typed(b"\x13s"), Step::Flow(FlowAction::InputOn)]);
        tco.extend([Step::Flow(FlowAction::OutputOn), printed(b"e"), typed(b"\x11\n"), read()]);
        play(termios, &tco);
    }
}

#[test]
fn too_much_echo_is_forgotten() {
    let mut steps = vec![typed(b"\x13")];
    steps.extend((0..50).map(|part| Step::Type(vec![b'a' + part % 26; 97])));
    steps.extend([typed(b"\x01\x02\t\x7f\x11"), typed(b"\n")]);
    play(Termios::default(), &steps);
}

#[test]
fn output_is_processed() {
    let output = |bits: u32| with(move |t| t.oflag = bits);
    for termios in [
        output(0),
        output(OPOST),
        output(OPOST | ONLCR),
        output(OPOST | OCRNL),
        output(OPOST | OCRNL | ONLRET),
        output(OPOST | ONOCR),
        output(OPOST | ONOCR | ONLRET),
        output(OPOST | ONLRET),
        output(OPOST | OLCUC | ONLCR),
        output(OPOST | XTABS | ONLCR),
        output(OPOST | TAB1),
        output(OPOST | XTABS | ONLRET | ONOCR),
        output(XTABS | ONLCR),
        Termios { iflag: IUTF8 | ICRNL, ..output(OPOST | XTABS | OLCUC) },
    ] {
        let mut steps: Vec<Step> = Vec::new();
        for text in [
            &b"abc\r\n"[..],
            b"\r\rd\te\x08\x08\tf\n\tg\r",
            b"\x08\t\x1b[1m\tx\n\ty",
            b"\xc3\xa4\t\xdf\xff\xe0\xf7\t.\r\n",
        ] {
            steps.extend([printed(text), typed(b"a\tb\t\x7f\x7f\x7fc\r"), read()]);
        }
        play(termios, &steps);
    }
}

#[test]
fn canonical_mode_comes_and_goes() {
    let lines = Termios::default();
    let bytes = with(|t| t.lflag &= !ICANON);
    let external = with(|t| t.lflag |= EXTPROC);
    for other in [bytes, external, Termios { lflag: bytes.lflag | EXTPROC, ..bytes }] {
        for first in
            [&b"done\nhalf"[..], b"half", b"end\x04", b"a\x7fb\x16", b"zero\x00", b"\x00", b"\x04", b""]
        {
            for (from, to) in [(lines, other), (other, lines)] {
                play(
                    from,
                    &[typed(first), Step::Set(to), typed(b"\x7fxy\n"), read(), read(), read(), read()],
                );
                play(
                    from,
                    &[
                        typed(first),
                        Step::Set(to),
                        Step::Set(from),
                        Step::Read(2),
                        typed(b"\n\x04"),
                        read(),
                        read(),
                    ],
                );
            }
        }
    }
}

#[test]
fn non_canonical_reads_and_polls() {
    for (min, time) in [(0, 0), (1, 0), (5, 0), (0, 2), (5, 2), (200, 0)] {
        let mut termios = raw();
        termios.cc[VMIN] = min;
        termios.cc[VTIME] = time;
        play(
            termios,
            &[read(), typed(b"ab"), Step::Read(1), read(), typed(b"cdefg"), Step::Read(4), read(), read()],
        );
    }
}

#[test]
fn external_processing() {
    let external = with(|t| t.lflag |= EXTPROC);
    type_all(
        &[external, Termios { iflag: ISTRIP, ..external }, Termios { iflag: IUCLC, ..external }],
        &[b"A\x7f\x03\xe1\n", b"\x04", b"x\x04", b"\x16\x13\x11"],
    );
}

#[test]
fn flushing_input() {
    play(Termios::default(), &[typed(b"a\nb"), Step::FlushInput, typed(b"c\n"), read(), read()]);
    play(with(|t| t.lflag |= ECHOPRT), &[typed(b"ab\x7f"), Step::FlushInput, typed(b"c\n"), read(), read()]);
    play(raw(), &[typed(b"abc"), Step::FlushInput, read()]);
}

#[test]
fn the_queue_fills() {
    for termios in [
        with(|t| t.iflag |= IMAXBEL),
        with(|t| t.lflag &= !ECHO),
        with(|t| t.iflag |= PARMRK),
        with(|t| t.lflag &= !ICANON),
        raw(),
        Termios { iflag: PARMRK, ..raw() },
    ] {
        // Bytes that differ show which are lost.
        let mut steps: Vec<Step> =
            (0..45_u8).map(|part| Step::Type((0..97).map(|at| b'a' + (at + part) % 26).collect())).collect();
        steps.push(typed(b"xyz\x7f\x7fend\nnext line\nanother"));
        steps.extend((0..8).map(|_| Step::Read(1000)));
        steps.push(typed(b"\n"));
        steps.extend((0..8).map(|_| Step::Read(1000)));
        play(termios, &steps);
        // Whole lines, then too much.
        let mut steps: Vec<Step> = (0..45).map(|_| Step::Type(vec![b'l'; 96])).collect();
        steps.insert(20, typed(b"\n"));
        steps.extend([typed(b"\x13\n\n"), printed(b"stopped?"), typed(b"\x11")]);
        steps.extend((0..12).map(|_| Step::Read(1000)));
        play(termios, &steps);
    }
}
