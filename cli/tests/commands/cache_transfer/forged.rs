//! Caches that claim what is not theirs to say. Who names one trusts it with this build, and with no
//! other.

use kiln_testbed::{Kiln, need};
use serde_json::Value;

use super::{build, edit_cache, ran};
use crate::program;

const SHELL: &str = "FROM scratch\nCOPY busybox /bin/sh\n";

/// Builds with the given last step and exports the cache to a directory, whose place is returned.
fn export(kiln: &Kiln, last: &str, name: &str) -> String {
    kiln.dockerfile(&format!("{SHELL}{last}\n"));
    let destination = kiln.scratch.join(name).display().to_string();
    let to = format!("type=local,dest={destination},mode=max");
    let ended = build(kiln, &["--cache-to", &to]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    destination
}

#[test]
fn keys_of_other_builds_are_not_taken_over() {
    let (theirs, ours) = (
        need!(Kiln::for_builds(program())),
        need!(Kiln::for_builds(program())),
    );
    let wanted = "RUN echo ours > /who";
    let mut keys = Vec::new();
    edit_cache(export(&theirs, wanted, "ours").as_ref(), |config| {
        for record in config["kiln"]["records"].as_array().unwrap() {
            keys.extend(record["keys"].as_array().unwrap().clone());
        }
    });
    assert!(keys.len() > 1, "{keys:?}");
    let forged = export(&theirs, "RUN echo theirs > /who", "theirs");
    edit_cache(forged.as_ref(), |config| {
        for record in config["kiln"]["records"].as_array_mut().unwrap() {
            record["keys"].as_array_mut().unwrap().extend(keys.clone());
        }
    });
    ours.dockerfile(&format!("{SHELL}RUN echo theirs > /who\n"));
    let ended = build(
        &ours,
        &["--cache-from", &format!("type=local,src={forged}")],
    );
    assert!(ran(&ended).is_empty(), "{ended:#?}");
    ours.dockerfile(&format!("{SHELL}{wanted}\n"));
    let ended = build(&ours, &["-o", "out"]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    let who = std::fs::read_to_string(ours.scratch.join("out/who")).unwrap();
    assert_eq!(who, "ours\n", "{ended:#?}");
}

/// The digest of a base's layer, with the files of another: a build on that base gets the base.
#[test]
fn the_layer_of_a_base_stays_its_own() {
    let machines = need!(super::Machines::new());
    let (theirs, ours) = (&machines.first, &machines.second);
    let [name, other] = ["genuine", "other"].map(|word| {
        let name = machines.registry.image(&format!("{word}:1"));
        theirs.dockerfile(&format!("{SHELL}RUN echo {word} > /who\n"));
        theirs.ok(&["build", "-t", &name, "ctx"]);
        theirs.ok(&["push", &name]);
        name
    });
    let diff_id = |name: &str| -> Value {
        let layers = theirs.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", name]);
        let layers: Value = serde_json::from_str(&layers).unwrap();
        layers.as_array().unwrap().last().unwrap().clone()
    };
    let forged = export(
        theirs,
        "RUN echo other > /who\nRUN echo more > /more",
        "forged",
    );
    let mut edited = 0;
    edit_cache(forged.as_ref(), |config| {
        for layer in config["kiln"]["layers"].as_array_mut().unwrap() {
            if layer["diffId"] == diff_id(&other) {
                layer["diffId"] = diff_id(&name);
                edited += 1;
            }
        }
    });
    assert_eq!(edited, 1);
    let from = format!("type=local,src={forged}");
    ours.dockerfile(&format!(
        "{SHELL}RUN echo other > /who\nRUN echo more > /more\n"
    ));
    let ended = build(ours, &["--cache-from", &from]);
    assert_eq!(ended.code, 0, "{ended:#?}");
    for bring_other in [false, true] {
        if bring_other {
            ours.dockerfile(&format!("FROM {other}\nRUN echo $(cat /who)\n"));
            assert_eq!(build(ours, &[]).code, 0);
        }
        ours.dockerfile(&format!(
            "FROM {name}\nCOPY busybox /bin/cat\nRUN read who < /who; echo found $who {bring_other}\n"
        ));
        let ended = build(ours, &[]);
        assert_eq!(ended.code, 0, "{ended:#?}");
        let found = format!("found genuine {bring_other}");
        assert!(ended.stderr.contains(&found), "{ended:#?}");
    }
}
