//! The pages of contacts: each kind has one, with every option it has and examples that use them all.

use std::collections::BTreeSet;

use parallax_proto::convert::contact::{Setting, WORDS, settings, word};
use parallax_proto::convert::resource;
use parallax_proto::v1;

use super::{as_set, blocks, file, first_column};
use crate::config::{Sources, load};

/// The contacts in the YAML blocks of a page, as they are stored.
fn examples(page: &str) -> Vec<v1::contact::Kind> {
    let text = file(page);
    let yaml = blocks(&text).into_iter().filter(|(word, ..)| *word == "yaml");
    let mut kinds = Vec::new();
    for (_, line, block) in yaml {
        let loaded = load(Sources::from_texts([(page, block.as_str())]));
        let loaded = loaded.unwrap_or_else(|wrong| panic!("line {line}: {:#?}", wrong.diagnostics));
        for located in loaded.resources {
            let normal = resource::normalise(located.resource);
            assert_eq!(resource::validate(&normal), [], "{page}:{line}");
            if let Some(v1::resource::Kind::Contact(contact)) = normal.kind {
                kinds.extend(contact.kind);
            }
        }
    }
    kinds
}

/// Whether an option is given.
fn is_given(setting: Setting<'_>) -> bool {
    match setting {
        Setting::Url(it) | Setting::Secret(it) => it.is_some(),
        Setting::Urls(several) | Setting::Secrets(several) => !several.is_empty(),
        Setting::Headers(headers) => !headers.is_empty(),
        Setting::Texts(several) => !several.is_empty(),
        Setting::Text(text) | Setting::Source(text) => !text.is_empty(),
        Setting::Labels(labels) => !labels.is_empty(),
        Setting::Number(number) => number > 0,
        Setting::Length(length) => length.is_some(),
    }
}

#[test]
fn each_kind_of_contact_has_a_page_with_every_option_and_an_example_of_each() {
    for kind in WORDS {
        let page = format!("docs/contacts/{kind}.md");
        let examples: Vec<_> = examples(&page).into_iter().filter(|it| word(it) == kind).collect();
        assert!(!examples.is_empty(), "{page} shows no {kind}");
        let all: BTreeSet<String> =
            settings(&examples[0]).into_iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(as_set(first_column(&file(&page), "## Options")), all, "{page}");
        let shown: BTreeSet<String> = examples
            .iter()
            .flat_map(settings)
            .filter(|(_, setting)| is_given(*setting))
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(shown, all, "{page} has no example of the others");
    }
}
