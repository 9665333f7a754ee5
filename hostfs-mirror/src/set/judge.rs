//! What the legs have answered, and what is to be made of it (design/hostfs-mirror.md, "Writes").

use super::flight::Answers;
use rustix::io::Errno;

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Verdict<T> {
    /// What the caller is told, if nothing else stands against it: what the good legs gave.
    pub(crate) answer: Result<Vec<(usize, T)>, Errno>,
    /// The legs that failed, to be fenced first.
    pub(crate) failed: Vec<(usize, Errno)>,
}

/// How bad an errno is of a leg, where others have answered something else: 0 is what a sound file system says.
fn guilt(errno: Errno) -> u8 {
    match errno {
        Errno::IO | Errno::NODEV | Errno::STALE | Errno::TIMEDOUT | Errno::NOTCONN | Errno::CONNABORTED => 5,
        Errno::UCLEAN
        | Errno::BADMSG
        | Errno::REMOTEIO
        | Errno::HOSTDOWN
        | Errno::NOMEDIUM
        | Errno::SHUTDOWN => 5,
        Errno::ROFS => 4,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => 3,
        Errno::NOSPC | Errno::DQUOT => 2,
        Errno::ACCESS => 1,
        _ => 0,
    }
}

/// Whether it is the leg that has failed, and not the caller who asked for too much: another leg is asked then.
pub(crate) fn is_failure(errno: Errno) -> bool {
    guilt(errno) > 0
}

/// What each leg said about something that all were to do.
///
/// * All the same: that.
/// * Some have done it: the others have failed.
/// * None has, for different reasons: nothing has changed anywhere. The least of the reasons is the answer, and the legs with worse ones
///   have failed. Two that a sound file system gives differ where the trees do: then the first leg is believed.
pub(crate) fn judge<T>(answers: Answers<T>) -> Verdict<T> {
    let (mut good, mut bad) = (Vec::with_capacity(answers.len()), Vec::new());
    for (leg, answer) in answers {
        match answer {
            Ok(value) => good.push((leg, value)),
            Err(e) => bad.push((leg, e)),
        }
    }
    if !good.is_empty() {
        return Verdict { answer: Ok(good), failed: bad };
    }
    // `min_by_key` takes the first of those that are alike.
    let Some(&(_, least)) = bad.iter().min_by_key(|(_, e)| guilt(*e)) else {
        return Verdict { answer: Err(Errno::IO), failed: Vec::new() };
    };
    bad.retain(|(_, e)| *e != least);
    Verdict { answer: Err(least), failed: bad }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answers: &[Result<u8, Errno>]) -> (Result<usize, Errno>, Vec<usize>) {
        let verdict = judge(answers.iter().copied().enumerate().collect());
        (verdict.answer.map(|good| good.len()), verdict.failed.iter().map(|(leg, _)| *leg).collect())
    }

    #[test]
    fn as_the_contract_says() {
        let (ok, io, full, there) = (Ok(0), Err(Errno::IO), Err(Errno::NOSPC), Err(Errno::EXIST));
        assert_eq!(said(&[ok, ok]), (Ok(2), vec![]));
        // The same everywhere: the caller's affair, whatever it is.
        assert_eq!(said(&[full, full]), (Err(Errno::NOSPC), vec![]));
        assert_eq!(said(&[io, io]), (Err(Errno::IO), vec![]));
        // One has done it: the first may be the one that failed.
        assert_eq!(said(&[ok, full]), (Ok(1), vec![1]));
        assert_eq!(said(&[io, ok, ok]), (Ok(2), vec![0]));
        assert_eq!(said(&[there, ok]), (Ok(1), vec![0]));
        // None has.
        assert_eq!(said(&[io, there]), (Err(Errno::EXIST), vec![0]));
        assert_eq!(said(&[full, io]), (Err(Errno::NOSPC), vec![1]));
        assert_eq!(said(&[there, Err(Errno::NOENT)]), (Err(Errno::EXIST), vec![1]));
    }
}
