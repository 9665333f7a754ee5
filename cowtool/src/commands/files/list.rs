//! `cowtool ls` and `cowtool find`.

use crate::context::Context;
use crate::options::files::{Find, Ls, bytes};
use cli_common::Outcome;
use cow_files::{Image, Listed, Pattern, mode_text};

pub(crate) fn ls(mut cx: Context, options: &Ls) -> anyhow::Result<Outcome> {
    let image = Image::open(&options.at.image, &options.at.which.how())?;
    for path in bytes(&options.paths) {
        let found = cow_files::list(&image, &path, options.recursive, options.directory, &cx.reporter);
        let found = match cx.done(found)? {
            Ok(found) => found,
            Err(outcome) => return Ok(outcome),
        };
        for one in &found {
            show(&mut cx, one, options.long);
        }
    }
    Ok(Outcome::Success)
}

pub(crate) fn find(mut cx: Context, options: &Find) -> anyhow::Result<Outcome> {
    let image = Image::open(&options.at.image, &options.at.which.how())?;
    let kind = options.kind.as_ref().and_then(|k| k.chars().next());
    let pattern = Pattern { name: options.name.clone(), kind };
    for path in bytes(&options.paths) {
        let mut all = Vec::new();
        let found = cow_files::find(&image, &path, &pattern, &cx.reporter, &mut |one| all.push(one));
        if let Err(outcome) = cx.done(found)? {
            return Ok(outcome);
        }
        for one in &all {
            show(&mut cx, one, false);
        }
    }
    Ok(Outcome::Success)
}

fn show(cx: &mut Context, one: &Listed, long: bool) {
    match (cx.out.is_json(), long) {
        (true, _) => cx.out.json(one),
        (false, true) => cx.out.line(line(one)),
        (false, false) => cx.out.line(&one.path),
    }
}

/// As `ls -ln --time-style=long-iso` has it, with the time in UTC: the host's zone says nothing of the guest's.
fn line(one: &Listed) -> String {
    let mode = mode_text(one.kind, one.mode);
    let size = match one.device {
        Some((major, minor)) => format!("{major}, {minor}"),
        None => one.size.to_string(),
    };
    let target = one.target.as_ref().map(|t| format!(" -> {t}")).unwrap_or_default();
    let (time, Listed { links, uid, gid, path, .. }) = (date(one.mtime.0), one);
    format!("{mode} {links:>3} {uid:>5} {gid:>5} {size:>10} {time} {path}{target}")
}

/// Seconds since 1970 as a date and time, UTC (days from civil, by Howard Hinnant's algorithm).
fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * in_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let day = in_year - (153 * march + 2) / 5 + 1;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_as_date_has_them() {
        for seconds in [0, -1, 951_782_399, 951_782_400, 1_767_323_045, 4_107_542_399, -2_208_988_800] {
            let told = std::process::Command::new("date")
                .args(["-u", "+%Y-%m-%d %H:%M", "-d", &format!("@{seconds}")])
                .output()
                .unwrap();
            assert_eq!(date(seconds), String::from_utf8(told.stdout).unwrap().trim());
        }
    }
}
