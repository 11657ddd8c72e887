//! `parallax pki` around the functions: what was written on the output, what to do next beside it.

use std::io::{self, Write};
use std::time::Duration;

use parallax_common::time::UtcTime;
use parallax_runtime::transport::Identity;

use crate::pki::args::{Init, Issue, Pki};
use crate::pki::{PkiError, Written, init, issue, mesh_of};

/// Runs `pki ...`: paths of the files that were written go to `out`, a line each; what they are and
/// what to do next to `talk`. A reader that has gone is no error, the files are there.
pub fn run(command: &Pki, out: &mut dyn Write, talk: &mut dyn Write) -> Result<(), PkiError> {
    match command {
        Pki::Init(args) => {
            let written = init(&args.mesh, &args.dir, args.days)?;
            let _ = print(&written, out).and_then(|()| after_init(args, &written, talk));
        }
        Pki::Issue(args) => {
            let place = args.place();
            let identity = args.identity(mesh_of(&place.dir)?);
            let written = issue(&place.dir, &place.out, &identity, place.days, place.renew)?;
            let _ =
                print(&written, out).and_then(|()| after_issue(args, &identity, &written, talk));
        }
    }
    Ok(())
}

fn print(written: &Written, out: &mut dyn Write) -> io::Result<()> {
    written.files.iter().try_for_each(|file| writeln!(out, "{}", file.display()))
}

fn after_init(args: &Init, written: &Written, talk: &mut dyn Write) -> io::Result<()> {
    let dir = args.dir.display();
    writeln!(
        talk,
        "\nmesh \"{}\" has an authority until {}. Whoever holds {dir}/ca-key.pem can let anybody \
         in: keep it off the machines of the mesh, and keep a copy.\n\nNext:\n  \
         parallax pki issue coordinator c1 --dir {dir} --out tls/c1\n  \
         parallax pki issue probe p1 --region eu-west --dir {dir} --out tls/p1\n  \
         parallax pki issue user \"$USER\" --role admin --dir {dir} --out tls/\"$USER\"",
        args.mesh,
        day(written.not_after),
    )
}

fn after_issue(
    args: &Issue,
    identity: &Identity,
    written: &Written,
    talk: &mut dyn Write,
) -> io::Result<()> {
    let out = args.place().out.display();
    let next = match identity {
        Identity::Coordinator { .. } => {
            format!("copy {out} to the coordinator's machine and start it with --tls-dir")
        }
        Identity::Probe { region, .. } => {
            format!("copy {out} to a machine in {region} and start the probe with --tls-dir")
        }
        Identity::User { .. } => {
            format!("parallax status --endpoint COORDINATOR:PORT --tls-dir {out}")
        }
    };
    writeln!(
        talk,
        "\n{} of mesh \"{}\" has a certificate until {}.\nNext: {next}",
        identity.describe(),
        identity.mesh(),
        day(written.not_after),
    )
}

fn day(at: UtcTime) -> String {
    let since = at.since(UtcTime::default());
    jiff::Timestamp::UNIX_EPOCH
        .checked_add(Duration::from_secs(since.as_secs()))
        .map_or_else(|_| "the end of time".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}
