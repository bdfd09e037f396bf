//! What root in a sandbox may do.

use rustix::thread::CapabilitySet;

/// The capabilities Docker leaves a container: mask `a80425fb` (dockerfile.md section 10).
pub(crate) const SANDBOX: CapabilitySet = CapabilitySet::CHOWN
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

/// Returns every capability a sandbox must not regain, one by one.
///
/// Goes up to 63 so that capabilities of newer kernels are dropped too; the kernel refuses numbers
/// it does not know.
pub(crate) fn forbidden() -> Vec<CapabilitySet> {
    (0..u64::BITS)
        .map(|bit| CapabilitySet::from_bits_retain(1 << bit))
        .filter(|capability| !SANDBOX.contains(*capability))
        .collect()
}

/// Returns what this process may do, which is all that `Security::Insecure` can pass on.
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
        assert_eq!(forbidden().len(), 64 - 14);
    }
}
