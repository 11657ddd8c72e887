//! Lists come in pages: asks for all of them. Of a selector a coordinator is asked for what is equal;
//! the rest is looked for here, so that no coordinator can know less of it than whoever asks.

use parallax_common::limits;
use parallax_common::selector::Selector;
use parallax_proto::v1;

use crate::args::List;
use crate::client::Client;

/// The first page of a list.
pub fn options(args: &List, client: &Client) -> v1::ListOptions {
    v1::ListOptions {
        page_size: limits::PAGE_SIZE_MAX,
        page_token: String::new(),
        labels: args.select.all().equalities(),
        namespace: client.namespace(),
        stale: args.stale,
    }
}

/// Leaves those whose labels fit; what has no labels may fit, too.
pub fn keep<T>(items: &mut Vec<T>, selector: &Selector, meta: impl Fn(&T) -> Option<&v1::Meta>) {
    let none = v1::Meta::default();
    items.retain(|item| selector.fits(&meta(item).unwrap_or(&none).labels));
}

/// Calls a list method until it has no more pages, and gives all items with the revision of the
/// first page.
///
/// `$call` is the method, `$items` the field of its answer; further fields of the request follow.
macro_rules! all_pages {
    ($client:expr, $options:expr, $service:ident::$module:ident, $method:ident, $request:ident {
        $($field:ident: $value:expr),* $(,)?
    }, $items:ident $(, beside $beside:ident)?) => {{
        let mut options: v1::ListOptions = $options;
        let mut items = Vec::new();
        $(let mut $beside = Vec::new();)?
        let mut revision = None;
        loop {
            let request = v1::$request { options: Some(options.clone()), $($field: $value.clone(),)* };
            let answer = $client
                .call(None, |channel| {
                    let request = request.clone();
                    async move { v1::$module::$service::new(channel).$method(request).await }
                })
                .await?;
            revision.get_or_insert(answer.revision);
            items.extend(answer.$items);
            $($beside.extend(answer.$beside);)?
            // A token that does not move on would ask for the same page for ever.
            if answer.next_page_token.is_empty() || answer.next_page_token == options.page_token {
                break (items, revision.unwrap_or_default() $(, $beside)?);
            }
            options.page_token = answer.next_page_token;
        }
    }};
}

pub(crate) use all_pages;
