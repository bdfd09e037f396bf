use serde_json::Value;

use super::Scenario;
use super::install::{Install, OUT, Recipe, download};
use crate::area::Area;
use crate::base::NODE;
use crate::error::Error;
use crate::mirror::Mirror;

/// An application that needs express: the demo's.
const PACKAGE: &str = include_str!("../../../../testdata/node-app/package.json");
const LOCK: &str = include_str!("../../../../testdata/node-app/package-lock.json");

/// `npm ci`, from a server that holds just the packages.
pub(super) fn prepare(area: &Area) -> Result<Box<dyn Scenario + '_>, Error> {
    let mut lock: Value = serde_json::from_str(LOCK).expect("npm wrote it");
    let wanted: Vec<String> = packages(&mut lock)
        .map(|(name, version, _)| format!("{name}@{version}"))
        .collect();
    let script = format!(
        "mkdir {OUT} && HOME=/root NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
         exec npm pack --pack-destination {OUT} {}",
        wanted.join(" ")
    );
    let directory = download(area, NODE, &script)?;
    let mirror = Mirror::of(&directory)?;
    for (name, version, package) in packages(&mut lock) {
        package["resolved"] = Value::from(format!(
            "{}/{}",
            mirror.address(),
            archive_name(&name, &version)
        ));
    }
    let recipe = Recipe {
        title: "npm ci of an express application",
        base: NODE,
        files: vec![
            ("/app/package.json", PACKAGE.to_owned()),
            ("/app/package-lock.json", lock.to_string()),
        ],
        command_line: "cd /app && HOME=/root npm ci --no-audit --no-fund --no-update-notifier"
            .to_owned(),
        evidence: (
            "/app/node_modules/express/package.json",
            "\"version\": \"4.21.2\"",
        ),
    };
    Install::prepare(area, recipe, mirror)
}

/// Returns name, version and entry of every package in a lock file of version 3.
fn packages(lock: &mut Value) -> impl Iterator<Item = (String, String, &mut Value)> {
    let entries = lock["packages"].as_object_mut().into_iter().flatten();
    entries.filter_map(|(path, package)| {
        // The application itself is in no such directory.
        let (_, name) = path.rsplit_once("node_modules/")?;
        let version = package["version"].as_str()?.to_owned();
        Some((name.to_owned(), version, package))
    })
}

/// Returns what `npm pack` calls a package's archive.
fn archive_name(name: &str, version: &str) -> String {
    let name = name.trim_start_matches('@').replace('/', "-");
    format!("{name}-{version}.tgz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_of_the_lock_file_is_found() {
        let mut lock = serde_json::from_str(LOCK).unwrap();
        let found: Vec<_> = packages(&mut lock)
            .map(|(name, version, _)| (name, version))
            .collect();
        assert!(found.contains(&("express".to_owned(), "4.21.2".to_owned())));
        assert!(found.iter().all(|(name, _)| !name.contains("node_modules")));
        assert!(found.len() > 60, "{found:?}");
    }

    #[test]
    fn archives_of_scopes_have_flat_names() {
        assert_eq!(archive_name("express", "4.21.2"), "express-4.21.2.tgz");
        assert_eq!(
            archive_name("@types/node", "20.1.0"),
            "types-node-20.1.0.tgz"
        );
    }
}
