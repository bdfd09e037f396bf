//! How a new process says what went wrong: fixed-size records on a socket that is closed
//! when the user's program was executed.

use rustix::io::Errno;

/// Bytes of one record. The socket keeps messages apart, so a record arrives whole.
pub(crate) const RECORD_BYTES: usize = 12;

/// The most bytes of a refused program that follow its record: enough for the headers of a binary
/// and the name of its loader.
pub(crate) const HEAD_BYTES: u64 = 1024;

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a new process was doing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(crate) enum SetupStage {
            $($(#[$doc])* $name,)*
        }

        impl SetupStage {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

stages! {
    /// Entering control group `index`.
    JoinCgroup,
    /// Becoming the leader of a session.
    Session,
    /// Placing standard stream `index`.
    StandardStream,
    /// Taking the terminal.
    Terminal,
    /// Putting the root file system into the tree.
    AttachRoot,
    /// Finding or creating the target of mount `index`.
    Target,
    /// Making the file system of mount `index`.
    MakeMount,
    /// Putting mount `index` into the tree.
    Attach,
    /// Hiding or protecting entry `errno >> 16` of mount `index`.
    Mask,
    /// Changing the root.
    PivotRoot,
    /// Letting go of the old root.
    DetachOldRoot,
    /// Setting the host's name.
    Hostname,
    /// Starting the loopback device.
    Loopback,
    /// Waiting until kiln lets it go on.
    Go,
    /// Leaving the parent's control group namespace.
    CgroupNamespace,
    /// Setting resource limit `index`.
    Limit,
    /// Entering or making the working directory.
    WorkingDirectory,
    /// Reducing the bounding set by capability `index`.
    BoundingSet,
    /// Loading the system call filter.
    ///
    /// With the value 0 it was loaded, and the descriptor comes along that kiln answers calls on.
    Filter,
    /// Setting the supplementary groups.
    Groups,
    /// Setting the group id.
    GroupId,
    /// Setting the user id.
    UserId,
    /// Reducing the capabilities.
    Capabilities,
    /// Closing inherited descriptors.
    CloseDescriptors,
    /// No candidate is an executable file.
    Search,
    /// Executing candidate `index`, which exists.
    ///
    /// With the value 0 nothing has failed yet: if it does, the kernel's answer follows as a word,
    /// and then the beginning of the file.
    Execute,
}

/// One message of a new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) stage: SetupStage,
    pub(crate) index: u32,
    pub(crate) value: i32,
}

impl Record {
    /// Announces that a candidate is going to be executed.
    pub(crate) fn attempt(candidate: usize) -> Self {
        Self {
            stage: SetupStage::Execute,
            index: candidate as u32,
            value: 0,
        }
    }

    /// Says that calls for kiln arrive on a descriptor that comes along.
    pub(crate) fn listening() -> Self {
        Self {
            stage: SetupStage::Filter,
            index: 0,
            value: 0,
        }
    }

    /// Says that a descriptor came along.
    pub(crate) fn is_listening(self) -> bool {
        self == Self::listening()
    }

    /// Says that nothing failed yet.
    pub(crate) fn is_attempt(self) -> bool {
        self.stage == SetupStage::Execute && self.value == 0
    }

    pub(crate) fn failure(stage: SetupStage, index: usize, errno: Errno) -> Self {
        Self {
            stage,
            index: index as u32,
            value: errno.raw_os_error(),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let (stage, rest) = bytes.split_at_mut(4);
        let (index, value) = rest.split_at_mut(4);
        stage.copy_from_slice(&(self.stage as u32).to_ne_bytes());
        index.copy_from_slice(&self.index.to_ne_bytes());
        value.copy_from_slice(&self.value.to_ne_bytes());
        bytes
    }

    /// Returns none for bytes that no child of this program wrote.
    pub(crate) fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let word =
            |at: usize| -> [u8; 4] { [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]] };
        let stage = u32::from_ne_bytes(word(0));
        Some(Self {
            stage: *SetupStage::ALL.get(usize::try_from(stage).ok()?)?,
            index: u32::from_ne_bytes(word(4)),
            value: i32::from_ne_bytes(word(8)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        for &stage in SetupStage::ALL {
            let record = Record::failure(stage, 7, Errno::NOENT);
            assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        }
    }

    #[test]
    fn foreign_bytes_are_no_record() {
        assert_eq!(Record::from_bytes(&[0xff; RECORD_BYTES]), None);
    }
}
