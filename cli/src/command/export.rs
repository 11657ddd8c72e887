//! `export`: what a namespace holds, as files that `apply` takes.

use std::collections::BTreeMap;
use std::path::Path;

use parallax_common::selector::Selector;
use parallax_common::text::nearest;
use parallax_proto::convert::contact::redacted::is_redacted;
use parallax_proto::convert::resource::{kind, meta_of};
use parallax_proto::v1;
use parallax_proto::v1::resource::Kind;
use parallax_proto::v1::settings_service_client::SettingsServiceClient;
use tonic::Code;

use super::list::{all_pages, options};
use crate::args::{Export, Format, List};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::export::{self, DEFAULT, open_secrets, set_of, yaml};
use crate::output::Shell;

/// How often the lists are read in search of one revision. Verdicts are revisions, too: a mesh where much
/// breaks may have none that lasts so long.
const READ_AT_MOST: usize = 4;

/// Prints one set, or writes a file for each.
///
/// # Errors
/// What the coordinator says, that there is no such set, or that a file cannot be written.
pub async fn export(
    args: &Export,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let (resources, revision) = at_one_revision(args.list.stale, client, shell).await?;
    whole(&resources)?;
    let mut sets: BTreeMap<String, Vec<v1::Resource>> = BTreeMap::new();
    for resource in resources {
        sets.entry(set_of(&resource).to_owned()).or_default().push(resource);
    }
    let (namespace, selector) = (client.namespace(), args.list.select.all());
    match &args.dir {
        Some(dir) => {
            let texts = sets.into_iter().map(|(set, resources)| {
                let resources = chosen(resources, &selector);
                warn(&resources, shell);
                let said = inventory(&resources);
                let text = text(&namespace, &set, resources, shell.format)?;
                Ok((set, text, said))
            });
            let texts = texts.collect::<Result<Vec<_>, Failure>>()?;
            write_all(dir, &texts, args.force, shell)?;
        }
        None => {
            let set = args.set.as_deref().unwrap_or(DEFAULT);
            if args.set.is_some() && !sets.contains_key(set) {
                return Err(no_set(set, &namespace, sets.keys()));
            }
            let resources = sets.remove(set).unwrap_or_default();
            let resources = chosen(resources, &selector);
            let said = inventory(&resources);
            warn(&resources, shell);
            let text = text(&namespace, set, resources, shell.format)?;
            shell.out.write_all(text.as_bytes())?;
            shell.out.flush()?;
            shell
                .say(&format!("set {set} of namespace {namespace}: {said} at revision {revision}"));
            if !sets.is_empty() {
                let others: Vec<String> =
                    sets.iter().map(|(set, all)| format!("{set} ({})", all.len())).collect();
                let others = others.join(", ");
                shell.say(&format!("not exported: other sets, {others}; see --set and --all-sets"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Everything that a namespace was told, read again while somebody writes.
async fn at_one_revision(
    stale: bool,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<(Vec<v1::Resource>, u64), Failure> {
    let (mut resources, mut revisions) = everything(stale, client).await?;
    for _ in 1..READ_AT_MOST {
        if revisions.0 == revisions.1 {
            break;
        }
        (resources, revisions) = everything(stale, client).await?;
    }
    let (first, last) = revisions;
    if first != last {
        shell.say(&format!(
            "warning: the mesh changed from revision {first} to {last} while this was read: `parallax \
             diff` says whether it is of one piece"
        ));
    }
    Ok((resources, first))
}

/// Everything that a namespace was told, and the revisions of the first answer and of the last. What
/// refers to others is read before them: what is added in between is named by nothing.
async fn everything(
    stale: bool,
    client: &mut Client,
) -> Result<(Vec<v1::Resource>, (u64, u64)), Failure> {
    let list = List { stale, ..List::default() };
    let (checks, revision) = super::check::all(&list, client).await?;
    let (windows, _) = all_pages!(
        client,
        options(&list, client),
        MaintenanceServiceClient::maintenance_service_client,
        list_maintenance,
        ListMaintenanceRequest {},
        windows
    );
    let settings = settings(stale, client).await?;
    let (contacts, _) = all_pages!(
        client,
        options(&list, client),
        ContactServiceClient::contact_service_client,
        list_contacts,
        ListContactsRequest {},
        contacts
    );
    let (regions, last) = all_pages!(
        client,
        options(&list, client),
        RegionServiceClient::region_service_client,
        list_regions,
        ListRegionsRequest {},
        regions
    );
    let windows = windows.into_iter().filter_map(|window| window.maintenance);
    let regions = regions.into_iter().filter_map(|region| region.region);
    let kinds = (checks.into_iter().map(Kind::Check))
        .chain(windows.map(Kind::Maintenance))
        .chain(settings.into_iter().map(Kind::Settings))
        .chain(contacts.into_iter().map(Kind::Contact))
        .chain(regions.map(Kind::Region));
    Ok((kinds.map(|kind| v1::Resource { kind: Some(kind) }).collect(), (revision, last)))
}

async fn settings(stale: bool, client: &mut Client) -> Result<Option<v1::Settings>, Failure> {
    let request = v1::GetSettingsRequest { namespace: client.namespace(), stale };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { SettingsServiceClient::new(channel).get_settings(request).await }
        })
        .await;
    match answer {
        Ok(answer) => Ok(answer.settings),
        // Half of it would be taken for all of it.
        Err(Failure::Answered { code: Code::Unimplemented, .. }) => {
            Err(Failure::Incomplete("settings (`mesh` and `routes`)"))
        }
        Err(failure) => Err(failure),
    }
}

/// Those that are meant. Settings have no labels: they are the whole namespace's, and no selector means them.
fn chosen(resources: Vec<v1::Resource>, selector: &Selector) -> Vec<v1::Resource> {
    let fits = |resource: &v1::Resource| {
        let settings = matches!(resource.kind, Some(Kind::Settings(_)));
        let labels = meta_of(resource).map(|meta| &meta.labels);
        selector.is_empty() || (!settings && selector.fits(labels.unwrap_or(&BTreeMap::new())))
    };
    resources.into_iter().filter(fits).collect()
}

/// `3 regions, 1 contact, settings, 12 checks`.
fn inventory(resources: &[v1::Resource]) -> String {
    let words = [
        ("region", "regions"),
        ("contact", "contacts"),
        ("settings", "settings"),
        ("maintenance", "maintenance windows"),
        ("check", "checks"),
    ];
    let parts = words.into_iter().filter_map(|(word, several)| {
        match resources.iter().filter(|resource| kind(resource) == Some(word)).count() {
            0 => None,
            1 if word == "maintenance" => Some("1 maintenance window".to_owned()),
            1 if word == several => Some(word.to_owned()),
            1 => Some(format!("1 {word}")),
            count => Some(format!("{count} {several}")),
        }
    });
    let said = parts.collect::<Vec<_>>().join(", ");
    if said.is_empty() { "nothing".to_owned() } else { said }
}

/// Refuses what a coordinator has shown only in part, which would take the place of what is there.
fn whole(resources: &[v1::Resource]) -> Result<(), Failure> {
    let hidden = resources.iter().find(|resource| match &resource.kind {
        Some(Kind::Contact(contact)) => is_redacted(contact),
        _ => false,
    });
    hidden.map_or(Ok(()), |resource| {
        let name = meta_of(resource).map_or("", |meta| &meta.name);
        Err(Failure::Unknown(format!(
            "contact {name} has secrets that are shown only to those who may edit: an export without \
             them is none"
        )))
    })
}

fn warn(resources: &[v1::Resource], shell: &mut Shell) {
    for secret in resources.iter().flat_map(open_secrets) {
        shell.say(&format!("warning: {secret} is no reference, and stands in what is exported"));
    }
}

fn text(
    namespace: &str,
    set: &str,
    resources: Vec<v1::Resource>,
    format: Format,
) -> Result<String, Failure> {
    let document = export::export(namespace, resources);
    match format {
        Format::Json => yaml::json(&document).map_err(|error| Failure::Print(error.to_string())),
        Format::Table | Format::Yaml if set == DEFAULT => Ok(yaml::render(&document)),
        Format::Table | Format::Yaml => {
            let which = format!("# Belongs to set {set}: apply it with --set {set}.\n");
            Ok(which + &yaml::render(&document))
        }
    }
}

fn no_set<'s>(set: &str, namespace: &str, known: impl Iterator<Item = &'s String>) -> Failure {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let near = match nearest(set, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; it holds nothing".to_owned(),
        None => format!("; it has {}", known.join(", ")),
    };
    Failure::Absent(format!("namespace {namespace} has no set `{set}`{near}"))
}

/// Writes a file for each set, or none when one of them is in the way.
fn write_all(
    dir: &Path,
    sets: &[(String, String, String)],
    force: bool,
    shell: &mut Shell,
) -> Result<(), Failure> {
    let end = if shell.format == Format::Json { "json" } else { "yaml" };
    let cannot = |path: &Path, error: std::io::Error| {
        Failure::Usage(format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(dir).map_err(|error| cannot(dir, error))?;
    let path_of = |set: &str| dir.join(format!("{set}.{end}"));
    for (set, text, _) in sets.iter().filter(|_| !force) {
        let path = path_of(set);
        match std::fs::read(&path) {
            Ok(there) if there != text.as_bytes() => {
                let path = path.display();
                let message = format!(
                    "{path} is there already and says something else; --force writes over it"
                );
                return Err(Failure::Usage(message));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(&path, error)),
        }
    }
    for (set, text, said) in sets {
        let path = path_of(set);
        // Under another name first: a file is whole, or as it was.
        let new = dir.join(format!(".{set}.{end}.new"));
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|error| cannot(&path, error))?;
        shell.say(&format!("{}: {said}; apply it with --set {set}", path.display()));
    }
    if sets.is_empty() {
        shell.say("nothing to export");
    }
    Ok(())
}
