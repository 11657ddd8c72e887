//! `backup`: a file that is whole, or not there.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parallax_coordinator::store::backup::{Header, Summary, verify};
use parallax_proto::v1;
use parallax_proto::v1::backup_service_client::BackupServiceClient;
use parallax_runtime::clock;
use serde::Serialize;
use tonic::Streaming;

use crate::args::Backup;
use crate::client::{Client, refusal};
use crate::exit::{Exit, Failure};
use crate::output::Shell;

/// How often it is said how far it has come.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// `backup`.
#[derive(Debug, Serialize)]
struct BackupView {
    file: PathBuf,
    bytes: u64,
    rows: u64,
    /// Segments of history and their bytes; absent when it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryView>,
    mesh: String,
    cluster_id: String,
    revision: u64,
    epoch: u64,
    /// Who made it.
    member: String,
}

/// What of the past is in it.
#[derive(Debug, Serialize)]
struct HistoryView {
    segments: u64,
    bytes: u64,
}

impl BackupView {
    fn text(&self) -> String {
        let history = match &self.history {
            Some(history) => format!("{} segments of history", history.segments),
            None => "no history".to_owned(),
        };
        format!(
            "saved mesh \"{}\" as of revision {} in {} ({} rows, {history}, {} bytes)\n",
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

/// Saves everything replicated and a member's history in one file. It is read back and verified before it gets its name.
///
/// # Errors
/// What the coordinator says, or the disk.
pub async fn backup(
    args: &Backup,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let without_history = args.without_history;
    let stream = client
        .call(None, |channel| async move {
            let request = v1::CreateBackupRequest { without_history };
            BackupServiceClient::new(channel).create_backup(request).await
        })
        .await?;
    let mut unfinished = args.file.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let saved = save(&unfinished, stream, shell).await;
    let done = saved.and_then(|bytes| Ok((bytes, finish(&unfinished, &args.file)?)));
    let (bytes, (Header(header), held)) = match done {
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
        rows: held.rows,
        history: (!header.without_history).then(|| {
            let (segments, bytes) = held.history();
            HistoryView { segments, bytes }
        }),
        mesh: header.mesh,
        cluster_id: header.cluster_id,
        revision: header.revision,
        epoch: header.epoch,
        member: header.member,
    };
    shell.data(&view, |_| view.text())?;
    shell.say("certificates and other members' copies of history are not in it");
    Ok(Exit::Ok)
}

/// How far it has come: the rows are the first section, each segment of history is another.
fn progress(bytes: u64, piece: &v1::CreateBackupResponse) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{:.1} MiB so far, section {} of {}; history is {:.1} MiB of it all",
        mib(bytes),
        piece.sections,
        1 + piece.history_segments,
        mib(piece.history_bytes)
    )
}

/// Writes what comes, and says now and then how far it is. How many bytes came.
async fn save(
    path: &Path,
    mut stream: Streaming<v1::CreateBackupResponse>,
    shell: &mut Shell,
) -> Result<u64, Failure> {
    let failed = |error| file_failure(path, &error);
    let mut file = File::create(path).map_err(failed)?;
    let mut bytes: u64 = 0;
    let mut said = clock::instant();
    while let Some(piece) = stream.message().await.map_err(|status| refusal(&status, None))? {
        file.write_all(&piece.content).map_err(failed)?;
        bytes += piece.content.len() as u64;
        if clock::instant().duration_since(said) >= SAY_EVERY {
            said = clock::instant();
            shell.say(&progress(bytes, &piece));
        }
    }
    file.sync_all().map_err(failed)?;
    Ok(bytes)
}

/// Reads it back, and gives it its name.
fn finish(unfinished: &Path, path: &Path) -> Result<(Header, Summary), Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_bytes_and_sections() {
        let piece = v1::CreateBackupResponse {
            sections: 3,
            history_segments: 7,
            history_bytes: 5 << 20,
            ..v1::CreateBackupResponse::default()
        };
        let said = progress(3 << 19, &piece);
        assert_eq!(said, "1.5 MiB so far, section 3 of 8; history is 5.0 MiB of it all");
    }
}
