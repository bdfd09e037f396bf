use std::path::PathBuf;

use clap::Parser;
use clap::builder::PossibleValuesParser;

use crate::builders;
use crate::scenarios::{self, ScenarioChoice};

/// Compares kiln with other builders and with the physical limit.
///
/// Needs root. Everybody takes a turn in every round; the table shows medians and minima of
/// wall time and of the CPU time of everything a builder caused. A builder whose image is not
/// what the Dockerfile says is marked WRONG RESULT.
#[derive(Debug, Parser)]
#[command(name = "kiln-bench")]
pub(crate) struct Arguments {
    /// The kiln binary to measure.
    #[arg(long, value_name = "PATH", default_value = "target/release/kiln")]
    pub(crate) kiln: PathBuf,

    /// How many rounds to measure, after one that only warms up, instead of as many as each
    /// scenario deserves.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: Option<u16>,

    /// Leaves out the scenarios that take minutes.
    #[arg(long, conflicts_with = "only")]
    pub(crate) quick: bool,

    /// The scenarios to run, instead of the usual ones (see proof/bench/README.md).
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = PossibleValuesParser::new(scenarios::names()))]
    pub(crate) only: Vec<String>,

    /// The programs to compare kiln with; an empty list leaves kiln alone with the limit.
    #[arg(long, value_name = "NAME,…", default_value = "buildah,docker,podman,runc", value_parser = parse_peers)]
    pub(crate) peers: Peers,

    /// Adds a round that finds out how much memory each builder had at most.
    #[arg(long)]
    pub(crate) memory: bool,

    /// Measures how kiln's costs grow with contexts, layers, images and containers, instead of comparing
    /// it with others.
    #[arg(long, conflicts_with_all = ["only", "quick", "memory", "rounds"])]
    pub(crate) growth: bool,

    /// Writes the report to a file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// The directory of the enclosure this process runs in.
    #[arg(long, hide = true)]
    pub(crate) enclosed: Option<PathBuf>,
}

impl Arguments {
    /// Returns how much is to be done when no scenario is named.
    pub(crate) fn extent(&self) -> ScenarioChoice {
        if self.quick {
            ScenarioChoice::Quick
        } else {
            ScenarioChoice::Everything
        }
    }
}

/// Names of builders other than kiln.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peers(pub(crate) Vec<String>);

impl Arguments {
    /// Reads the command line; ends the process if it is not as it should be.
    pub(crate) fn from_command_line() -> Self {
        Self::parse()
    }
}

fn parse_peers(list: &str) -> Result<Peers, String> {
    let names: Vec<String> = list
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    match names
        .iter()
        .find(|name| !builders::PEERS.contains(&name.as_str()))
    {
        None => Ok(Peers(names)),
        Some(unknown) => Err(format!(
            "{unknown} is none of {}",
            builders::PEERS.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn peers_are_known_names_or_none() {
        assert_eq!(parse_peers(""), Ok(Peers(vec![])));
        assert_eq!(
            parse_peers("docker,buildah"),
            Ok(Peers(vec!["docker".to_owned(), "buildah".to_owned()]))
        );
        assert_eq!(
            parse_peers("kiln"),
            Err("kiln is none of buildah, docker, podman, runc".to_owned())
        );
    }

    #[test]
    fn scenarios_are_known_names() {
        let parse = |only| Arguments::try_parse_from(["kiln-bench", "--only", only]);
        assert_eq!(parse("no-op,smoke").unwrap().only, ["no-op", "smoke"]);
        assert!(parse("unheard-of").is_err());
    }
}
