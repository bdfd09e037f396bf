//! A disk that loses its power.
//!
//! An ext4 in a sparse file, mounted by way of a loop device where no other process sees it. Cutting its
//! power is what the file system's own tests do: it forgets all that it has not written, the journal
//! too (`EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`). Mounted again, it replays what the
//! journal had.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kiln_testbed::{Scratch, Skip, Tool, need_root, run};

/// Shuts the file system of a directory down: `EXT4_IOC_SHUTDOWN`, flag 2 (ext4(5) and
/// include/uapi/linux/ext4.h).
const SHUTDOWN: &str = r#"open(my $d, "<", $ARGV[0]) or die "open: $!"; my $flags = pack("I", 2);
ioctl($d, 0x8004587d, $flags) or die "shutdown: $!";"#;

/// The number of the next disk: one may be made while another is there.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A process that holds a mount namespace: it ends when its standard input does.
#[derive(Debug)]
struct Keeper {
    child: std::process::Child,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It has nothing else to do.
        let _ = self.child.wait();
    }
}

/// A file system of its own.
#[derive(Debug)]
pub(crate) struct Disk {
    keeper: Keeper,
    nsenter: Tool,
    perl: Tool,
    image: PathBuf,
    mount_point: PathBuf,
    options: &'static str,
}

impl Disk {
    /// Makes one of so many MiB and mounts it on a directory of `scratch`.
    ///
    /// # Errors
    /// What the machine lacks.
    pub(crate) fn new(scratch: &Scratch, mebibytes: u64) -> Result<Self, Skip> {
        need_root()?;
        let mkfs = Tool::find("mkfs.ext4")?;
        let (perl, nsenter) = (Tool::find("perl")?, Tool::find("nsenter")?);
        let unshare = Tool::find("unshare")?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let image = scratch.join(format!("disk-{number}.ext4"));
        let mount_point = scratch.join(format!("disk-{number}"));
        std::fs::create_dir_all(&mount_point).expect("the scratch directory is ours");
        let file = std::fs::File::create(&image).expect("the scratch directory is ours");
        file.set_len(mebibytes << 20)
            .expect("a sparse file has any length");
        run(mkfs
            .command()
            .args(["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"])
            .arg(&image));
        let child = unshare
            .command()
            .args(["--mount", "--propagation", "private", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the tool was found");
        let disk = Self {
            keeper: Keeper { child },
            nsenter,
            perl,
            image,
            mount_point,
            // Names are written down each second; contents when the kernel likes.
            options: "loop,commit=1",
        };
        disk.wait_for_namespace();
        if disk.try_mount() {
            Ok(disk)
        } else {
            Err(Skip::because("no loop device can be mounted here"))
        }
    }

    /// Returns where it is mounted, for those who are inside.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Returns a command that starts a program where the disk is seen.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = self.nsenter.command();
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.child.id()))
            .arg("--")
            .arg(program);
        command
    }

    /// Cuts the power, and gives it back once `after` has ended what still has files open.
    pub(crate) fn lose_power(&self, after: impl FnOnce()) {
        self.cut();
        after();
        self.power_on();
    }

    fn cut(&self) {
        let mut cut = self.inside(self.perl.path());
        run(cut.args(["-e", SHUTDOWN]).arg(&self.mount_point));
    }

    fn power_on(&self) {
        for attempt in 0.. {
            let mut unmount = self.inside(Path::new("/bin/umount"));
            let output = unmount
                .arg(&self.mount_point)
                .output()
                .expect("a tool of every system");
            if output.status.success() {
                break;
            }
            // A process that was killed lets go in its own time.
            assert!(attempt < 500, "{}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.try_mount(), "the journal cannot be replayed");
    }

    fn try_mount(&self) -> bool {
        let mut mount = self.inside(Path::new("/bin/mount"));
        mount.args(["-t", "ext4", "-o", self.options]);
        let status = mount
            .arg(&self.image)
            .arg(&self.mount_point)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    /// Waits until the keeper has a namespace of its own: a mount elsewhere would be everybody's.
    fn wait_for_namespace(&self) {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
        let (own, theirs) = (namespace("self"), self.keeper.child.id().to_string());
        for _ in 0..1000 {
            if namespace(&theirs).is_some_and(|theirs| Some(theirs) != own) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no mount namespace was made");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace would take it along, but the file goes next.
        let _ = self
            .inside(Path::new("/bin/umount"))
            .arg(&self.mount_point)
            .stderr(Stdio::null())
            .status();
        let _ = std::fs::remove_file(&self.image);
    }
}
