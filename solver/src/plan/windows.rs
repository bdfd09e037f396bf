//! Images for Windows: their defaults, and how paths are written there.
//!
//! Only Linux programs run here, and layers of Windows images have a form of their own. So a stage
//! for Windows can collect files and say what is to be done with them, no more.

use kiln_oci::Platform;
use kiln_parser::{clean, quote};

/// Says whether files are laid out for Windows.
pub(crate) fn is_windows(platform: &Platform) -> bool {
    platform.os == "windows"
}

/// Returns the shell of a stage that names none.
pub(crate) fn default_shell(os: &str) -> Vec<String> {
    let words: &[&str] = match os {
        "windows" => &["cmd", "/S", "/C"],
        _ => &["/bin/sh", "-c"],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Returns a path with slashes and without a drive. A slash at its end is kept.
///
/// # Errors
/// When it is on another drive than `C:`, where there is nothing.
pub(crate) fn with_slashes(path: &str) -> Result<String, String> {
    let slashed = path.replace('\\', "/");
    if slashed.starts_with("//") {
        return Err("UNC paths are not supported".to_owned());
    }
    let path = match slashed.split_once(':') {
        None => slashed.as_str(),
        Some((_, "")) if slashed.len() == 2 => {
            return Err(format!("No relative path specified in {}", quote(path)));
        }
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => rest,
        Some(_) => {
            return Err("The specified path is not on the system drive (C:)".to_owned());
        }
    };
    let cleaned = match path {
        "" => String::new(),
        path => clean(path),
    };
    Ok(if path.ends_with('/') && !cleaned.ends_with('/') {
        cleaned + "/"
    } else {
        cleaned
    })
}

/// Returns a path as Windows writes it.
pub(crate) fn with_backslashes(path: &str) -> String {
    path.replace('/', "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lose_their_drive() {
        for (path, expected) in [
            (r"C:\a\b", "/a/b"),
            (r"c:/a/../b/", "/b/"),
            (r"a\b", "a/b"),
            (r"C:a", "a"),
            (r"\", "/"),
            ("", ""),
        ] {
            assert_eq!(with_slashes(path).as_deref(), Ok(expected), "{path}");
        }
        for path in ["C:", r"D:\a", r"\\server\share"] {
            assert!(with_slashes(path).is_err(), "{path}");
        }
    }
}
