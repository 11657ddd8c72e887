//! What the system calls its errors: evidence says the name and the number beside the words.

use std::io::{Error, ErrorKind};

use rustix::io::Errno;

/// The errors of sockets, and those that a machine ends with which has too little of something.
const NAMES: [(Errno, &str); 28] = [
    (Errno::ACCESS, "EACCES"),
    (Errno::ADDRINUSE, "EADDRINUSE"),
    (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::CONNABORTED, "ECONNABORTED"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::CONNRESET, "ECONNRESET"),
    (Errno::HOSTDOWN, "EHOSTDOWN"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH"),
    (Errno::INVAL, "EINVAL"),
    (Errno::IO, "EIO"),
    (Errno::MFILE, "EMFILE"),
    (Errno::MSGSIZE, "EMSGSIZE"),
    (Errno::NETDOWN, "ENETDOWN"),
    (Errno::NETRESET, "ENETRESET"),
    (Errno::NETUNREACH, "ENETUNREACH"),
    (Errno::NFILE, "ENFILE"),
    (Errno::NOBUFS, "ENOBUFS"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOEXEC, "ENOEXEC"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::NOPROTOOPT, "ENOPROTOOPT"),
    (Errno::NOTCONN, "ENOTCONN"),
    (Errno::PERM, "EPERM"),
    (Errno::PIPE, "EPIPE"),
    (Errno::PROTO, "EPROTO"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
];

/// `ECONNREFUSED 111`; without a name of its own `errno 95`.
fn shown(number: i32) -> String {
    let named = NAMES.iter().find(|(errno, _)| errno.raw_os_error() == number);
    format!("{} {number}", named.map_or("errno", |(_, name)| *name))
}

/// Name and number, where the system has given one.
pub(super) fn of(error: &Error) -> Option<String> {
    error.raw_os_error().map(shown)
}

/// The one error that the system means by a kind, where nothing but the kind is left.
fn of_kind(error: &Error) -> Option<Errno> {
    match error.kind() {
        _ if error.get_ref().is_some() => None,
        ErrorKind::ConnectionReset => Some(Errno::CONNRESET),
        ErrorKind::ConnectionAborted => Some(Errno::CONNABORTED),
        ErrorKind::BrokenPipe => Some(Errno::PIPE),
        _ => None,
    }
}

/// The system's words, with name and number of its error: `connection refused (ECONNREFUSED 111)`. Some
/// libraries keep the words of an error and not the error; its number is at the end of them. Others keep its
/// kind alone.
pub(super) fn plain(error: &Error) -> String {
    let text = error.to_string().to_lowercase();
    let Some((words, rest)) = text.split_once(" (os error ") else {
        return match of_kind(error) {
            Some(errno) => format!("{text} ({})", shown(errno.raw_os_error())),
            None => text,
        };
    };
    let number = rest.split(')').next().and_then(|number| number.parse().ok());
    match number {
        Some(number) => format!("{words} ({})", shown(number)),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_with_its_name_and_number_also_where_only_its_words_are_left() {
        let refused = Error::from_raw_os_error(Errno::CONNREFUSED.raw_os_error());
        let number = Errno::CONNREFUSED.raw_os_error();
        let wanted = format!("connection refused (ECONNREFUSED {number})");
        assert_eq!(plain(&refused), wanted);
        assert_eq!(plain(&Error::other(refused.to_string())), wanted);
        assert_eq!(of(&refused), Some(format!("ECONNREFUSED {number}")));
        let rare = Error::from_raw_os_error(Errno::XFULL.raw_os_error());
        assert!(plain(&rare).ends_with(&format!("(errno {})", Errno::XFULL.raw_os_error())));
        assert_eq!(plain(&Error::other("Words of its own")), "words of its own");
        assert_eq!(plain(&Error::other("torn (os error x)")), "torn");
        assert_eq!(of(&Error::other("words")), None);
        let reset = Errno::CONNRESET.raw_os_error();
        let of_kind = |kind: ErrorKind| plain(&Error::from(kind));
        assert_eq!(
            of_kind(ErrorKind::ConnectionReset),
            format!("connection reset (ECONNRESET {reset})")
        );
        // It may be the system's, or somebody's own clock.
        assert_eq!(of_kind(ErrorKind::TimedOut), "timed out");
        let own = Error::new(ErrorKind::ConnectionReset, "gone");
        assert_eq!(plain(&own), "gone");
        for (place, (errno, name)) in NAMES.iter().enumerate() {
            assert!(NAMES[place + 1..].iter().all(|(other, of)| other != errno && of != name));
        }
    }
}
