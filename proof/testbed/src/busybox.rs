use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::{Scratch, Skip, Tool, run, run_and_read};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Returns the path of a busybox that needs no libraries.
///
/// # Errors
///
/// A skip where there is none, or only one that is linked dynamically.
pub fn busybox() -> Result<PathBuf, Skip> {
    let busybox = Tool::find("busybox")?;
    let program = fs::read(busybox.path())
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", busybox.path().display()));
    if needs_loader(&program) {
        return Err(Skip::because(
            "busybox is not static here (busybox-static is)",
        ));
    }
    Ok(busybox.path().to_owned())
}

/// Fills a directory with a root file system of busybox, a link per applet, and little else.
///
/// # Errors
///
/// As [`busybox`].
///
/// # Panics
///
/// If the directory cannot be written.
pub fn busybox_rootfs(directory: &Path) -> Result<(), Skip> {
    let busybox = busybox()?;
    fill(&busybox, directory)
        .unwrap_or_else(|error| panic!("cannot fill {}: {error}", directory.display()));
    Ok(())
}

/// Writes the root file system of [`busybox_rootfs`] as an uncompressed tar archive, owned by root.
///
/// # Errors
///
/// As [`busybox`].
///
/// # Panics
///
/// If the archive cannot be written.
pub fn busybox_tarball(archive: &Path) -> Result<(), Skip> {
    let tar = Tool::find("tar")?;
    let scratch = Scratch::new();
    let rootfs = scratch.join("rootfs");
    busybox_rootfs(&rootfs)?;
    // Equal content gives equal bytes, and so equal digests from one run to the next.
    run(tar
        .command()
        .args([
            "--create",
            "--sort=name",
            "--mtime=@1700000000",
            "--format=ustar",
        ])
        .args(["--owner=0", "--group=0", "--numeric-owner", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(&rootfs)
        .arg("."));
    Ok(())
}

/// Returns whether a 64-bit ELF program names a loader for shared libraries.
fn needs_loader(program: &[u8]) -> bool {
    // elf(5): e_phoff, e_phentsize and e_phnum lead to the program headers, whose first
    // field is the type; PT_INTERP is 3. Both of kiln's platforms are little-endian.
    let number = |start: usize, length: usize| {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(program.get(start..start + length)?);
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let headers = || {
        let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        Some((0..count).map(move |index| first + index * size))
    };
    headers()
        .into_iter()
        .flatten()
        .any(|header| number(header, 4) == Some(3))
}

fn fill(busybox: &Path, directory: &Path) -> std::io::Result<()> {
    for (name, mode) in [
        ("", 0o755),
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
    ] {
        let path = directory.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    fs::copy(busybox, directory.join("bin/busybox"))?;
    fs::set_permissions(directory.join("bin/busybox"), Permissions::from_mode(0o755))?;
    for applet in run_and_read(std::process::Command::new(busybox).arg("--list")).lines() {
        if applet != "busybox" {
            symlink("busybox", directory.join("bin").join(applet))?;
        }
    }
    for (name, content) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        fs::write(directory.join(name), content)?;
        fs::set_permissions(directory.join(name), Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need;

    #[test]
    fn a_static_program_names_no_loader() {
        let static_program = fs::read(need!(busybox())).unwrap();
        assert!(!needs_loader(&static_program));
        // This test is linked as usual, so it needs one.
        let dynamic_program = fs::read("/proc/self/exe").unwrap();
        assert!(needs_loader(&dynamic_program));
    }
}
