//! Archives as nobody makes them: every kind of entry, with names, links, sizes and records that were chosen to hurt.

/// Names, and where links lead.
const NAMES: [&[u8]; 24] = [
    b"f",
    b"d/",
    b"d/f",
    b"l",
    b"l/f",
    b"/f",
    b"//d///f/",
    b"../keep/file",
    b"d/../../keep/file",
    b"..",
    b".",
    b"",
    b"/",
    b"keep/file",
    b"/keep/file",
    b"lost+found/x",
    b"\xff\xfe",
    b"a\nb=c",
    b".cowtool.1.0",
    b"d/s/t/u",
    b"old",
    b"old/x",
    b"link",
    b"dir/x",
];
const KEYS: [&str; 24] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "atime",
    "GNU.sparse.map",
    "GNU.sparse.size",
    "GNU.sparse.realsize",
    "GNU.sparse.name",
    "GNU.sparse.major",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.user.",
    "SCHILY.xattr.",
    "SCHILY.xattr.nope.a",
    "SCHILY.xattr.system.posix_acl_access",
    "SCHILY.xattr.system.posix_acl_default",
    "SCHILY.xattr.security.capability",
    "SCHILY.xattr.trusted.x",
    "SCHILY.xattr.system.data",
    "SCHILY.xattr.user.%3D%25",
    "",
    "comment",
];
const VALUES: [&[u8]; 16] = [
    b"0",
    b"1",
    b"-1",
    b"4096",
    b"0,512,4096,512",
    b"0,0,0,0",
    b"512,1,0,1",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"17592186044416",
    b"-9223372036854775808.999999999",
    b"4294967296.5",
    b"",
    b"\n=\n",
    b"\xff",
    b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x04\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff",
];

/// Bytes of a member in the input.
pub(crate) const PIECE: usize = 12;

fn name(n: u8) -> Vec<u8> {
    match n % 32 {
        24 => vec![b'x'; 100],
        25 => vec![b'y'; 255],
        26 => vec![b'z'; 256],
        27 => b"a/".repeat(40),
        28 => b"b/".repeat(1000),
        29 => vec![b'w'; 4096],
        30 => b"d/".iter().chain(&[b'v'; 200]).copied().collect(),
        31 => b"f\0hidden".to_vec(),
        n => NAMES[usize::from(n)].to_vec(),
    }
}

/// What a field of 12 bytes says.
enum Field {
    Octal(u64),
    /// Base 256, as GNU tar has what does not fit.
    Binary(i128),
    Bytes([u8; 12]),
}

impl Field {
    fn bytes(&self) -> [u8; 12] {
        match self {
            Field::Octal(n) => {
                let mut out = [0; 12];
                out[..11].copy_from_slice(format!("{:011o}", n & 0o777_7777_7777).as_bytes());
                out
            }
            Field::Binary(n) => {
                let mut out = [0; 12];
                out.copy_from_slice(&n.to_be_bytes()[4..]);
                out[0] |= 0x80;
                out
            }
            Field::Bytes(b) => *b,
        }
    }
}

/// The archive that `data` stands for, [`PIECE`] bytes a member.
pub(crate) fn archive(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in data.as_chunks::<PIECE>().0.iter().take(64) {
        member(piece, &mut out);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn member(p: &[u8; PIECE], out: &mut Vec<u8>) {
    let [kind, called, target, size, mode, extra, high, low, a, b, c, d] = *p;
    let (called, target) = (name(called), name(target));
    let n = usize::from(u16::from_be_bytes([high, low]));
    let far = u64::from(u32::from_be_bytes([a, b, c, d]));
    let content = |n: usize| (0..n).map(|i| (i as u8).wrapping_mul(31) ^ a).collect::<Vec<u8>>();
    let (field, data) = match size % 10 {
        0..3 => (Field::Octal(0), Vec::new()),
        3..6 => (Field::Octal(n as u64 % 5000), content(n % 5000)),
        6 => (Field::Octal(n as u64), content(n)),
        7 => (Field::Binary(i128::from(far) << (extra % 64)), content(n % 600)),
        8 => (Field::Binary(-i128::from(far)), Vec::new()),
        _ => (Field::Bytes([a, b, c, d, a, b, c, d, high, low, a, b]), content(n % 600)),
    };
    let flag = match kind % 20 {
        0 | 1 => b'0',
        k @ 2..=8 => b'0' + k - 1,
        9 => b'S',
        10 => 0,
        11 => extra,
        _ => b'0',
    };
    match kind % 20 {
        12 | 13 => extended(b'x', &[record(extra, a, n), record(mode, b, n / 7)], out),
        14 => extended(b'g', &[record(extra, a, n % 100)], out),
        15 => extended(b'L', std::slice::from_ref(&called), out),
        16 => extended(b'K', std::slice::from_ref(&target), out),
        17 => {
            let map = format!("{far},{},{},1", n % 512, far.wrapping_mul(u64::from(extra)));
            let records = [
                plain("GNU.sparse.size", far.to_string().as_bytes()),
                plain("GNU.sparse.map", map.as_bytes()),
            ];
            extended(b'x', &records, out);
        }
        18 => {
            let end = far.wrapping_mul(u64::from(extra) + 1);
            extended(
                b'x',
                &[plain("GNU.sparse.major", b"1"), plain("GNU.sparse.realsize", end.to_string().as_bytes())],
                out,
            );
            let mut list = format!("2\n0\n{}\n{end}\n{}\n", n % 600, extra % 3).into_bytes();
            list.resize(512, 0);
            list.extend(content(n % 600));
            let field = Field::Octal(list.len() as u64);
            header(b'0', &called, &target, &field, mode, p, out);
            return fill(out, &list);
        }
        // An entry whose header says nothing of what is behind it.
        19 => extended(extra, std::slice::from_ref(&data), out),
        _ => {}
    }
    header(flag, &called, &target, &field, mode, p, out);
    fill(out, &data);
}

fn plain(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (rest..).find(|len| len - rest == len.to_string().len()).unwrap_or(rest);
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

fn record(key: u8, value: u8, n: usize) -> Vec<u8> {
    let value = if value & 0x80 == 0 { VALUES[usize::from(value % 16)].to_vec() } else { vec![value; n] };
    plain(KEYS[usize::from(key) % KEYS.len()], &value)
}

/// A header about the next.
fn extended(flag: u8, parts: &[Vec<u8>], out: &mut Vec<u8>) {
    let data = parts.concat();
    header(flag, b"about", b"", &Field::Octal(data.len() as u64), 0, &[0; PIECE], out);
    fill(out, &data);
}

fn fill(out: &mut Vec<u8>, data: &[u8]) {
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn header(
    flag: u8,
    called: &[u8],
    target: &[u8],
    size: &Field,
    mode: u8,
    p: &[u8; PIECE],
    out: &mut Vec<u8>,
) {
    let mut h = [0; 512];
    let mut put = |at: usize, len: usize, bytes: &[u8]| {
        let n = bytes.len().min(len);
        h[at..at + n].copy_from_slice(&bytes[..n]);
    };
    put(0, 100, called);
    put(100, 8, format!("{:07o}", u32::from(mode) * 0x1357).as_bytes());
    put(108, 8, format!("{:07o}", p[10]).as_bytes());
    put(116, 8, if p[11] & 1 == 0 { b"0000012\0" } else { b"\x80\0\0\0\xff\xff\xff\xff" });
    put(124, 12, &size.bytes());
    put(136, 12, b"14000000000\0");
    put(156, 1, &[flag]);
    put(157, 100, target);
    put(257, 8, if flag == b'S' { b"ustar  \0" } else { b"ustar\x0000" });
    put(329, 8, format!("{:07o}", u32::from(p[8]) << (p[5] % 8)).as_bytes());
    put(337, 8, format!("{:07o}", u32::from(p[9]) << (p[5] % 8)).as_bytes());
    if flag == b'S' {
        let stretch = |at: u64, len: u64| [Field::Octal(at).bytes(), Field::Octal(len).bytes()].concat();
        put(386, 24, &stretch(0, u64::from(p[6])));
        put(410, 24, &stretch(u64::from(p[8]) << 12, u64::from(p[7])));
        put(482, 1, &[p[5] & 1]);
        put(483, 12, &Field::Octal(u64::from(p[9]) << 16).bytes());
    }
    seal(&mut h);
    out.extend(h);
}

/// Puts the checksum of a header right.
pub(crate) fn seal(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
