//! The context and `-f`: where the files and the instructions of a build are.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_engine::{ArchiveCompression, ContextSource, DockerfileSource};
use kiln_parser::{RemoteSource, SourcePlace, remote_source};

use super::arguments::BuildArguments;
use crate::failure::Failure;

/// Bytes. A header of a tar: enough to tell one, compressed or not, from a Dockerfile.
const BEGINNING: usize = 512;

/// Finds the context and the Dockerfile. Of an archive on standard input, only the beginning is
/// read here.
pub(super) fn find(
    arguments: &BuildArguments,
    stdin: &mut dyn Read,
) -> Result<(ContextSource, DockerfileSource), Failure> {
    let file = arguments.file.as_deref().filter(|file| !file.is_empty());
    if arguments.context == "-" {
        if file == Some(OsStr::new("-")) {
            return Err(Failure::new(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        let mut text = read(stdin.take(BEGINNING as u64).by_ref())?;
        if is_archive(&text) {
            let context = ContextSource::Archive { beginning: text };
            return Ok((context, dockerfile(file, stdin)?));
        }
        if file.is_some() {
            return Err(Failure::new(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            ));
        }
        // What ended early has ended: a terminal would have to be told so again.
        if text.len() == BEGINNING {
            text.extend(read(stdin)?);
        }
        return Ok((ContextSource::Empty, DockerfileSource::Text(text)));
    }
    let directory = Path::new(&arguments.context);
    let context = if directory.is_dir() {
        ContextSource::Directory(directory.to_owned())
    } else {
        elsewhere(&arguments.context)?
    };
    Ok((context, dockerfile(file, stdin)?))
}

/// Understands `-f`.
fn dockerfile(file: Option<&OsStr>, stdin: &mut dyn Read) -> Result<DockerfileSource, Failure> {
    let Some(file) = file else {
        return Ok(DockerfileSource::Default);
    };
    // A path may hold any bytes; an address is text.
    Ok(match file.to_str() {
        Some("-") => DockerfileSource::Text(read(stdin)?),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            DockerfileSource::Remote(url.to_owned())
        }
        _ => DockerfileSource::Path(PathBuf::from(file)),
    })
}

/// Understands a context that is no directory.
fn elsewhere(text: &OsStr) -> Result<ContextSource, Failure> {
    let path = text;
    let text = text.to_string_lossy().into_owned();
    match remote_source(&text, SourcePlace::BuildContext) {
        Some(Ok(RemoteSource::Git(_) | RemoteSource::Http(_))) => Ok(ContextSource::Remote(text)),
        Some(Err(error)) => Err(Failure::new(format!("invalid build context: {error}"))),
        None if Path::new(path).exists() => Err(Failure::new(format!(
            "unable to prepare context: path {text:?} is not a directory"
        ))
        .with_hint("name the directory, and the Dockerfile with -f")),
        None => Err(Failure::new(format!(
            "unable to prepare context: path {text:?} not found"
        ))),
    }
}

fn read(stdin: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    stdin
        .read_to_end(&mut text)
        .map_err(|error: io::Error| Failure::new(format!("failed to read from stdin: {error}")))?;
    Ok(text)
}

/// Tells a tar, compressed or not, from a Dockerfile.
fn is_archive(beginning: &[u8]) -> bool {
    ArchiveCompression::of(beginning) != ArchiveCompression::None
        || beginning
            .first_chunk::<BEGINNING>()
            .is_some_and(is_tar_header)
}

/// Returns whether this is the header of a tar's member, or its end, from the checksum: the oldest
/// archives have no magic (tar(5)).
fn is_tar_header(header: &[u8; BEGINNING]) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let (before, rest) = header.split_at(148);
    let (checksum, behind) = rest.split_at(8);
    if sum(header) == 0 {
        return true;
    }
    let digits = checksum
        .iter()
        .skip_while(|byte| **byte == b' ')
        .take_while(|byte| matches!(byte, b'0'..=b'7'));
    let expected = digits.fold(0, |number, digit| number * 8 + u32::from(digit - b'0'));
    // The field itself counts as eight blanks.
    sum(before) + 8 * u32::from(b' ') + sum(behind) == expected
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn find(
        context: &str,
        file: Option<&str>,
        mut stdin: &[u8],
    ) -> Result<(ContextSource, DockerfileSource), String> {
        let arguments = BuildArguments {
            context: context.into(),
            file: file.map(Into::into),
            ..BuildArguments::default()
        };
        super::find(&arguments, &mut stdin).map_err(|failure| failure.message)
    }

    /// A terminal: after its end it goes on.
    struct Typed(Vec<&'static [u8]>);

    impl Read for Typed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let next = self.0.pop().expect("no caller asks again after the end");
            buffer[..next.len()].copy_from_slice(next);
            Ok(next.len())
        }
    }

    /// It took Ctrl-D twice.
    #[test]
    fn a_terminal_ends_once() {
        let mut stdin = Typed(vec![b"", b"FROM scratch\n"]);
        let arguments = BuildArguments {
            context: "-".into(),
            ..BuildArguments::default()
        };
        let found = super::find(&arguments, &mut stdin).map_err(|failure| failure.message);
        let dockerfile = DockerfileSource::Text(b"FROM scratch\n".to_vec());
        assert_eq!(found, Ok((ContextSource::Empty, dockerfile)));
    }

    #[test]
    fn one_source_per_stream() {
        let text = b"FROM scratch\n";
        let dockerfile = DockerfileSource::Text(text.to_vec());
        assert_eq!(
            find("-", None, text),
            Ok((ContextSource::Empty, dockerfile.clone()))
        );
        assert_eq!(
            find("/", Some("-"), text),
            Ok((ContextSource::Directory("/".into()), dockerfile))
        );
        assert_eq!(
            find("-", Some("-"), text),
            Err("invalid argument: can't use stdin for both build context and dockerfile".into())
        );
        assert_eq!(
            find("-", Some("x"), text),
            Err(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles".into()
            )
        );
        assert_eq!(
            find("/nowhere", None, b""),
            Err("unable to prepare context: path \"/nowhere\" not found".into())
        );
        // Longer than what is looked at.
        let long = [&b"FROM scratch\n#"[..], &[b'x'; 2 * BEGINNING]].concat();
        assert_eq!(
            find("-", None, &long),
            Ok((ContextSource::Empty, DockerfileSource::Text(long.clone())))
        );
    }

    #[test]
    fn paths_may_hold_any_bytes() {
        let name = OsStr::from_bytes(b"Docker\xfffile");
        let arguments = BuildArguments {
            context: "/".into(),
            file: Some(name.to_owned()),
            ..BuildArguments::default()
        };
        let (_, dockerfile) = super::find(&arguments, &mut &b""[..]).unwrap();
        assert_eq!(dockerfile, DockerfileSource::Path(name.into()));
    }

    #[test]
    fn archives_are_told_by_their_beginning() {
        let mut header = [0; BEGINNING];
        header[..4].copy_from_slice(b"file");
        let sum = u32::from(b'f') + u32::from(b'i') + u32::from(b'l') + u32::from(b'e') + 256;
        header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        for beginning in [
            &b"\x1f\x8b\x08"[..],
            b"BZh9",
            b"\xfd7zXZ\0",
            b"\x28\xb5\x2f\xfd",
            &header,
            &[0; BEGINNING],
        ] {
            let context = ContextSource::Archive {
                beginning: beginning.to_vec(),
            };
            assert_eq!(
                find("-", Some("sub/Dockerfile"), beginning),
                Ok((context, DockerfileSource::Path("sub/Dockerfile".into())))
            );
        }
        header[0] = b'F';
        assert!(!is_archive(&header));
    }

    #[test]
    fn contexts_may_be_elsewhere() {
        for text in [
            "https://h/x.git#main:sub",
            "git@h:a/b.git",
            "github.com/a/b",
            "http://h/context.tar.gz",
        ] {
            assert_eq!(
                find(text, Some("https://h/Dockerfile"), b""),
                Ok((
                    ContextSource::Remote(text.to_owned()),
                    DockerfileSource::Remote("https://h/Dockerfile".to_owned())
                ))
            );
        }
        assert_eq!(
            find("https://h/x.git?x=1", None, b""),
            Err("invalid build context: unexpected query \"x\"".into())
        );
    }
}
