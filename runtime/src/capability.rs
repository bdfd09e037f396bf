//! What root in a sandbox may do.

use rustix::thread::CapabilitySet;

use crate::JobNetwork;

/// The capabilities Docker leaves a container: mask `a80425fb` (docs/spec/dockerfile.md 10).
const SANDBOX: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// What is dangerous to a network that is not the sandbox's own: reading along and making up packets
/// (NET_RAW), answering in place of the host's services (NET_BIND_SERVICE), and writing to the log of
/// the kernel, which is the host's whatever the network (AUDIT_WRITE).
const ON_OWN_NETWORK: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::AUDIT_WRITE);

/// Returns the capabilities of root in a sandbox.
pub(crate) fn sandbox(network: JobNetwork) -> CapabilitySet {
    match network {
        JobNetwork::Host => SANDBOX.difference(ON_OWN_NETWORK),
        JobNetwork::None => SANDBOX,
    }
}

/// Returns every capability a sandbox must not regain, one by one.
///
/// Goes up to 63 so that capabilities of newer kernels are dropped too; the kernel refuses numbers
/// it does not know.
pub(crate) fn forbidden(network: JobNetwork) -> Vec<CapabilitySet> {
    (0..u64::BITS)
        .map(|bit| CapabilitySet::from_bits_retain(1 << bit))
        .filter(|capability| !sandbox(network).contains(*capability))
        .collect()
}

/// Returns what this process may do, which is all that `JobSecurity::Insecure` can pass on.
pub(crate) fn own() -> CapabilitySet {
    match rustix::thread::capabilities(None) {
        Ok(sets) => sets.permitted,
        Err(_) => SANDBOX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_has_the_default_mask() {
        assert_eq!(SANDBOX.bits(), 0xa804_25fb);
        assert_eq!(forbidden(JobNetwork::None).len(), 64 - 14);
        assert_eq!(sandbox(JobNetwork::Host).bits(), 0x8804_01fb);
        assert_eq!(forbidden(JobNetwork::Host).len(), 64 - 11);
    }
}
