//! Names in patches: as they are, or in C's quotes where they would not stay one name on one line (git's quote_c_style, which patch knows too).

/// A path of an image below a prefix.
pub(super) fn name(prefix: &[u8], path: &[u8]) -> String {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let whole = if prefix.is_empty() { path.to_vec() } else { [prefix, b"/", path].concat() };
    let odd = |b: &u8| matches!(b, 0..=0x1f | b'"' | b'\\' | 0x7f..) || b.is_ascii_whitespace();
    if !whole.iter().any(odd) {
        return String::from_utf8_lossy(&whole).into_owned();
    }
    let mut out = String::from('"');
    for byte in whole {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b' '..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\{other:03o}")),
        }
    }
    out.push('"');
    out
}
