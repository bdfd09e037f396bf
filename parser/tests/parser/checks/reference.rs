//! Addresses of repositories and downloads.

use kiln_parser::{GitSource, Modified, RemoteSource, SourcePlace, download_name, remote_source};

/// Reads a text as a source, and a repository's options again from an address that spells them out.
pub fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let name = download_name(&text);
    assert!(!matches!(&*name, "" | "." | ".."), "{name:?}");
    assert!(!name.contains(['/', '\0']), "{name:?}");

    let in_instruction = remote_source(&text, SourcePlace::Instruction);
    let as_context = remote_source(&text, SourcePlace::BuildContext);
    if in_instruction.is_some() {
        assert_eq!(in_instruction, as_context);
    }
    match as_context {
        Some(Ok(RemoteSource::Http(url))) => assert_eq!(url, text),
        Some(Ok(RemoteSource::Git(source))) => {
            assert!(!source.remote.contains(['#', '?']), "{source:?}");
            if in_instruction.is_some() {
                let spelled = spell_out(&source);
                let again = remote_source(&spelled, SourcePlace::Instruction);
                assert_eq!(again, Some(Ok(RemoteSource::Git(source))), "{spelled}");
            }
        }
        Some(Err(error)) => assert!(!error.to_string().is_empty()),
        None => {}
    }
}

fn spell_out(source: &GitSource) -> String {
    let mut fields = Vec::new();
    let mut field = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            fields.push(format!("{name}={escaped}"));
        }
    };
    field("ref", &source.reference);
    field("subdir", &source.subdirectory);
    field("commit", &source.commit);
    field(
        "keep-git-dir",
        &source.keep_git_dir.map(|on| on.to_string()),
    );
    field("submodules", &source.submodules.map(|on| on.to_string()));
    field("fetch-by-commit", &Some(source.fetch_by_commit.to_string()));
    let modified = match source.modified {
        Modified::Checkout => "checkout",
        Modified::Commit => "commit",
    };
    field("mtime", &Some(modified.to_owned()));
    format!("{}?{}", source.remote, fields.join("&"))
}
