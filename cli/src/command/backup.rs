//! `backup`: a file that is whole, or not there.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parallax_coordinator::store::backup::{Header, verify};
use parallax_proto::v1;
use parallax_proto::v1::backup_service_client::BackupServiceClient;
use serde::Serialize;
use tonic::Streaming;

use crate::args::Backup;
use crate::client::{Client, refusal};
use crate::exit::{Exit, Failure};
use crate::output::Shell;

/// `backup`.
#[derive(Debug, Serialize)]
struct BackupView {
    file: PathBuf,
    bytes: u64,
    rows: u64,
    mesh: String,
    cluster_id: String,
    revision: u64,
    epoch: u64,
    /// Who made it.
    member: String,
}

impl BackupView {
    fn text(&self) -> String {
        format!(
            "saved mesh \"{}\" as of revision {} in {} ({} rows, {} bytes)\n",
            self.mesh,
            self.revision,
            self.file.display(),
            self.rows,
            self.bytes
        )
    }
}

/// Refuses to write over a file.
///
/// # Errors
/// When it is there.
pub fn check(args: &Backup) -> Result<(), Failure> {
    match args.file.exists() {
        true => Err(Failure::Usage(format!("{} is there already", args.file.display()))),
        false => Ok(()),
    }
}

/// Saves everything replicated in one file. It is read back and verified before it gets its name.
///
/// # Errors
/// What the coordinator says, or the disk.
pub async fn backup(
    args: &Backup,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let stream = client
        .call(None, |channel| async move {
            let request = v1::CreateBackupRequest {};
            BackupServiceClient::new(channel).create_backup(request).await
        })
        .await?;
    let mut unfinished = args.file.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let saved = save(&unfinished, stream).await;
    let done = saved.and_then(|bytes| Ok((bytes, finish(&unfinished, &args.file)?)));
    let (bytes, (Header(header), rows)) = match done {
        Ok(done) => done,
        Err(failure) => {
            // It is of no use to anybody; that it stays would be worse news than this failure.
            let _ = std::fs::remove_file(&unfinished);
            return Err(failure);
        }
    };
    let view = BackupView {
        file: args.file.clone(),
        bytes,
        rows,
        mesh: header.mesh,
        cluster_id: header.cluster_id,
        revision: header.revision,
        epoch: header.epoch,
        member: header.member,
    };
    shell.data(&view, |_| view.text())?;
    shell.say("what probes have seen (history) is not in it, nor are certificates");
    Ok(Exit::Ok)
}

/// Writes what comes. How many bytes came.
async fn save(
    path: &Path,
    mut stream: Streaming<v1::CreateBackupResponse>,
) -> Result<u64, Failure> {
    let failed = |error| file_failure(path, &error);
    let mut file = File::create(path).map_err(failed)?;
    let mut bytes = 0;
    while let Some(piece) = stream.message().await.map_err(|status| refusal(&status, None))? {
        file.write_all(&piece.content).map_err(failed)?;
        bytes += piece.content.len() as u64;
    }
    file.sync_all().map_err(failed)?;
    Ok(bytes)
}

/// Reads it back, and gives it its name.
fn finish(unfinished: &Path, path: &Path) -> Result<(Header, u64), Failure> {
    // Of whatever level: it is kept, not restored.
    let verified = verify(unfinished, u32::MAX).map_err(|error| {
        Failure::Usage(format!("what came is no backup, try again: {}", causes(&error)))
    })?;
    std::fs::rename(unfinished, path).map_err(|error| file_failure(path, &error))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| file_failure(dir, &error))?;
    Ok(verified)
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    parallax_runtime::error::causes(error)
}

fn file_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot write {}: {error}", path.display()))
}
