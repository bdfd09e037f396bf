//! The small languages of flags and arguments.

use kiln_parser::lint::CheckOptions;
use kiln_parser::mount::{self, MountSpec};
use kiln_parser::{chmod, duration, expose, quote, signal, suggest};

use super::choice_and_text;

/// Reads a value. Its first byte chooses as what.
pub fn values(data: &[u8]) {
    let (choice, text) = choice_and_text(data);
    match choice % 6 {
        0 => mount(&text),
        1 => ports(&text),
        2 => mode(&text),
        3 => {
            let _ = duration::parse(&text);
        }
        4 => {
            let _ = signal::parse(&text);
        }
        _ => {
            let _ = CheckOptions::parse(&text);
            let _ = suggest(&text, ["ENTRYPOINT", "RUN"]);
            let quoted = quote(&text);
            assert!(quoted.len() >= text.len() + 2);
            assert!(!quoted.contains(|character: char| character.is_ascii_control()));
        }
    }
}

fn mount(text: &str) {
    let Ok(fields) = mount::split(text) else {
        return;
    };
    let _ = MountSpec::from_fields(&fields);
    // Each field in quotes says the same.
    let quoted: Vec<String> = fields
        .iter()
        .map(|(key, value)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        })
        .map(|field| format!("\"{}\"", field.replace('"', "\"\"")))
        .collect();
    assert_eq!(mount::split(&quoted.join(",")), Ok(fields));
}

fn ports(text: &str) {
    let Ok(ports) = expose::parse_ports(text) else {
        return;
    };
    assert!(!ports.ports.is_empty());
    assert!(ports.ports.is_sorted_by(|a, b| a.port < b.port));
    for port in ports.ports.iter().take(3) {
        let again = expose::parse_ports(&port.to_string()).expect("a port as it is shown");
        assert_eq!(again.ports, [*port]);
        assert!(!again.names_host && again.miscased_protocol.is_none());
    }
}

fn mode(text: &str) {
    if let Ok(chmod) = chmod::parse(text) {
        for before in [0, 0o644, 0o7777] {
            assert!(chmod.apply(before, false) <= 0o7777);
            assert!(chmod.apply(before, true) <= 0o7777);
        }
    }
}
