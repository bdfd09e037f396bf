use std::fs;

use kiln_files::GuestPath;
use kiln_testbed::Scratch;

use super::*;
use crate::{DeviceKind, DeviceNumber, Job, JobMount, JobRoot, MountAccess, MountSource, Process};

/// A directory with these files.
fn scan(files: &[(&str, &str)]) -> (Scratch, DeviceRegistry) {
    let scratch = Scratch::new();
    for (name, text) in files {
        fs::write(scratch.path().join(name), text).unwrap();
    }
    let registry = DeviceRegistry::scan(&[scratch.path().to_owned()]);
    (scratch, registry)
}

fn find(registry: &DeviceRegistry, names: &[&str]) -> Result<Edits, CdiError> {
    let requests: Vec<_> = names
        .iter()
        .map(|name| DeviceRequest {
            name: (*name).to_owned(),
            requirement: Requirement::Required,
        })
        .collect();
    registry.find(&requests)
}

fn env(edits: &Edits) -> String {
    let texts = edits
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    texts.collect::<Vec<_>>().join(" ")
}

const DOCUMENTED: &str = r#"
cdiVersion: "0.6.0"
kind: "vendor1.com/device"
devices:
  - name: foo
    containerEdits:
      env:
        - FOO=injected
  - name: bar
    annotations:
      org.mobyproject.buildkit.device.class: class1
    containerEdits:
      env:
        - BAR=injected
  - name: baz
    annotations:
      org.mobyproject.buildkit.device.class: class1
      org.mobyproject.buildkit.device.autoallow: no
    containerEdits:
      env:
        - BAZ=injected
annotations:
  org.mobyproject.buildkit.device.autoallow: true
containerEdits:
  env: [ALL=injected]
"#;

#[test]
fn requests_name_devices_in_four_ways() {
    // docs/spec/dockerfile.md 6, RUN --device
    let (_scratch, registry) = scan(&[("v.yaml", DOCUMENTED), ("README", "")]);
    assert!(registry.problems().is_empty(), "{:?}", registry.problems());
    for (request, expected) in [
        ("vendor1.com/device=foo", "ALL=injected FOO=injected"),
        // The first in the order of names.
        ("vendor1.com/device", "ALL=injected BAR=injected"),
        (
            "vendor1.com/device=*",
            "ALL=injected BAR=injected BAZ=injected FOO=injected",
        ),
        ("class1", "ALL=injected BAR=injected BAZ=injected"),
    ] {
        assert_eq!(env(&find(&registry, &[request]).unwrap()), expected);
    }
    let twice = find(&registry, &["class1", "vendor1.com/device=bar"]).unwrap();
    assert_eq!(env(&twice), "ALL=injected BAR=injected BAZ=injected");
    assert!(registry.is_auto_allowed("vendor1.com/device=foo"));
    assert!(!registry.is_auto_allowed("vendor1.com/device=baz"));
    assert!(!registry.is_auto_allowed("class1"));
}

#[test]
fn missing_devices_matter_if_they_are_required() {
    let (_scratch, registry) = scan(&[("v.yaml", DOCUMENTED), ("broken.json", "{")]);
    for missing in [
        "vendor1.com/device=qux",
        "vendor2.com/device",
        "class2",
        "=",
        "",
    ] {
        let error = find(&registry, &[missing]).unwrap_err().to_string();
        let expected = format!("required device {missing:?} is not registered (left out: /");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("/broken.json: EOF while parsing"), "{error}");
        let optional = DeviceRequest {
            name: missing.to_owned(),
            requirement: Requirement::Optional,
        };
        assert!(registry.find(&[optional]).unwrap().env.is_empty());
    }
}

#[test]
fn everything_that_is_supported() {
    let json = r#"{
        "cdiVersion": "1.0.0",
        "kind": "v.com/d",
        "devices": [{
            "name": "0",
            "containerEdits": {
                "env": ["PATH=/opt/v:/bin", "EMPTY="],
                "deviceNodes": [
                    {"path": "/dev/plain"},
                    {"path": "/dev/inside", "hostPath": "/dev/outside", "permissions": "rw"},
                    {"path": "/dev/own", "type": "c", "major": 10, "minor": 200,
                     "fileMode": 432, "uid": 0, "gid": 44}
                ],
                "mounts": [
                    {"hostPath": "/opt/v", "containerPath": "/opt/v",
                     "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"]},
                    {"hostPath": "/run/v", "containerPath": "/run/v", "type": "bind"}
                ],
                "additionalGids": [44, 0, 44],
                "hooks": null
            }
        }]
    }"#;
    let (_scratch, registry) = scan(&[("v.json", json)]);
    assert!(registry.problems().is_empty(), "{:?}", registry.problems());
    let mut job = Job::new(JobRoot::Directory("/".into()), Process::new(["true"]));
    job.process.env = vec![("PATH".into(), "/bin".into()), ("A".into(), "b".into())];
    job.process.user.uid = 1000;
    let edits = find(&registry, &["v.com/d=0"]).unwrap();
    edits.apply(&mut job);
    edits.apply(&mut job);
    let env: Vec<_> = job
        .process
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(env, ["PATH=/opt/v:/bin", "A=b", "EMPTY="]);
    assert_eq!(job.process.user.groups, [44]);
    let paths: Vec<_> = job
        .devices
        .iter()
        .map(|device| (device.target.to_string(), device.host.display().to_string()))
        .collect();
    let same = |path: &str| (path.to_owned(), path.to_owned());
    let other = ("/dev/inside".to_owned(), "/dev/outside".to_owned());
    assert_eq!(paths, [same("/dev/plain"), other, same("/dev/own")]);
    assert_eq!((job.devices[0].uid, job.devices[0].gid), (Some(1000), None));
    let own = &job.devices[2];
    assert_eq!(
        (own.mode, own.uid, own.gid),
        (Some(0o660), Some(0), Some(44))
    );
    let number = DeviceNumber {
        kind: DeviceKind::Character,
        major: 10,
        minor: 200,
    };
    assert_eq!(own.number, Some(number));
    let shown = |mount: &JobMount| match &mount.source {
        MountSource::Bind { path, inside } if inside.is_root() => (
            path.display().to_string(),
            mount.target.clone(),
            mount.access,
        ),
        other => panic!("{other:?}"),
    };
    let expected = |path: &str, access| (path.to_owned(), GuestPath::new(path), access);
    assert_eq!(
        job.mounts.iter().take(2).map(shown).collect::<Vec<_>>(),
        [
            expected("/opt/v", MountAccess::ReadOnly),
            expected("/run/v", MountAccess::ReadWrite)
        ]
    );
}

#[test]
fn edits_beyond_kiln_are_refused() {
    for (edits, reason) in [
        (
            "hooks: [{hookName: createContainer, path: /usr/bin/v-hook, args: [a]}]",
            "it wants the hook /usr/bin/v-hook to be run on this machine, which kiln does not do \
             for any device",
        ),
        (
            "netDevices: [{hostInterfaceName: eth0}]",
            "it wants network devices to be moved into the sandbox, which kiln does not do",
        ),
        (
            "intelRdt: {closID: x}",
            "it wants Intel RDT to be set up, which kiln does not do",
        ),
        (
            "env: [NAME]",
            "\"NAME\" is not an environment variable with its value",
        ),
        (
            "deviceNodes: [{path: dev/x}]",
            "\"dev/x\" is not an absolute path",
        ),
        (
            "deviceNodes: [{path: /dev/x, type: p}]",
            "unknown type \"p\" of a device node",
        ),
        (
            "mounts: [{hostPath: tmpfs, containerPath: /t, type: tmpfs}]",
            "mounts of type \"tmpfs\" are not supported",
        ),
        (
            "mounts: [{hostPath: /t, containerPath: /t, options: [rshared]}]",
            "mount option \"rshared\" is not supported",
        ),
        (
            "mounts: [{hostPath: /t, containerPath: /}]",
            "\"/\" is not an absolute path",
        ),
    ] {
        let text = format!(
            "cdiVersion: 0.6.0\nkind: v.com/d\ndevices:\n- name: x\n  containerEdits: {{{edits}}}\n"
        );
        let (_scratch, registry) = scan(&[("v.yml", &text)]);
        assert!(registry.problems().is_empty(), "{:?}", registry.problems());
        let error = find(&registry, &["v.com/d=x"]).unwrap_err().to_string();
        assert_eq!(error, format!("device v.com/d=x: {reason}"));
    }
}

#[test]
fn files_that_make_no_sense_are_left_out() {
    for (text, problem) in [
        ("a: &b c", "line 1: anchors are not supported"),
        ("[]", "invalid length 0"),
        ("kind: v.com/d", "missing field `cdiVersion`"),
        (
            "{cdiVersion: 0.6.0, kind: d, devices: []}",
            "invalid kind \"d\"",
        ),
        ("{cdiVersion: 0.6.0, kind: v/d, devices: []}", "no devices"),
        (
            "{cdiVersion: 2.0.0, kind: v/d, devices: [{name: x}]}",
            "unknown cdiVersion \"2.0.0\"",
        ),
        (
            "{cdiVersion: 0.6.0, kind: v/d, devices: [{name: x}, {name: x}]}",
            "device \"x\" is described twice",
        ),
        (
            "{cdiVersion: 0.6.0, kind: v/d, devices: [{name: '*'}]}",
            "invalid device name \"*\"",
        ),
        (
            "{cdiVersion: 0.6.0, kind: v/d, devices: [{name: x, containerEdit: {}}]}",
            "unknown field `containerEdit`",
        ),
    ] {
        let (_scratch, registry) = scan(&[("v.yaml", text)]);
        assert_eq!(registry.devices().count(), 0, "{text}");
        let problems = registry.problems();
        assert_eq!(problems.len(), 1, "{text}");
        let message = problems[0].to_string();
        assert!(
            message.contains(&format!("/v.yaml: {problem}")),
            "{message}"
        );
    }
}

#[test]
fn later_directories_take_precedence() {
    let spec = |value: &str, names: &[&str]| {
        let devices = names
            .iter()
            .map(|name| format!("{{name: {name}, containerEdits: {{env: ['WHO={value}']}}}}"));
        let devices: Vec<_> = devices.collect();
        format!(
            "{{cdiVersion: 0.6.0, kind: v.com/d, devices: [{}]}}",
            devices.join(", ")
        )
    };
    let scratch = Scratch::new();
    let [first, second, missing] = ["1", "2", "3"].map(|name| scratch.path().join(name));
    fs::create_dir(&first).unwrap();
    fs::create_dir(&second).unwrap();
    fs::write(first.join("a.yaml"), spec("a", &["x", "y", "z"])).unwrap();
    fs::write(second.join("b.yaml"), spec("b", &["y", "z"])).unwrap();
    // In one directory nobody takes precedence.
    fs::write(second.join("c.yaml"), spec("c", &["z"])).unwrap();
    let registry = DeviceRegistry::scan(&[first, second, missing]);
    for (name, who) in [("x", "WHO=a"), ("y", "WHO=b")] {
        let edits = find(&registry, &[&format!("v.com/d={name}")]).unwrap();
        assert_eq!(env(&edits), who);
    }
    let error = find(&registry, &["v.com/d=z"]).unwrap_err().to_string();
    assert!(
        error.ends_with("/2/c.yaml: device v.com/d=z is described by another file too)"),
        "{error}"
    );
}
