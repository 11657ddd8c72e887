//! `-l`: which resources a command is about, by their labels.

use clap::Args;
use parallax_common::selector::Selector;

/// What every command takes that is about resources with labels.
#[derive(Debug, Clone, Default, Args)]
pub struct Select {
    /// Only those whose labels fit, such as team=payments,tier!=test,zone in (a,b),!old; several must all fit
    #[arg(long = "selector", short = 'l', alias = "label", value_name = "SELECTOR",
          value_parser = selector)]
    pub selectors: Vec<Selector>,
}

impl Select {
    /// What fits all of them.
    pub fn all(&self) -> Selector {
        self.selectors.iter().fold(Selector::default(), Selector::and)
    }
}

fn selector(text: &str) -> Result<Selector, String> {
    Selector::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use crate::args::{Check, Cli, Command};

    #[test]
    fn several_selectors_must_all_fit_and_an_older_name_of_the_flag_is_taken() {
        let words = ["parallax", "check", "list", "-l", "team in (a,b)", "--selector", "!old"];
        let words = words.into_iter().chain(["--label", "tier=x"]);
        let Command::Check(Check::List(list)) = Cli::read(words).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(list.select.all().to_string(), "team in (a,b),!old,tier=x");
    }

    #[test]
    fn what_is_no_selector_is_refused_at_its_column() {
        for command in [
            "check list",
            "check pause",
            "check resume",
            "region list",
            "contact list",
            "maintenance list",
            "incident list",
            "probe list",
            "status",
            "export",
            "uptime --all",
            "top",
        ] {
            let words = ["parallax"].into_iter().chain(command.split(' '));
            let error = Cli::read(words.chain(["-l", "team in a"])).unwrap_err().to_string();
            let said =
                "'team in a' for '--selector <SELECTOR>': column 9: `(` must stand behind in";
            assert!(error.contains(said), "{command}: {error}");
        }
    }
}
