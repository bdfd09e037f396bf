//! Tar streams: the one that kiln writes of a layer, and those that others wrote.

// The canonical tar, which a diff id is the digest of.
pub(crate) mod contents; // the bytes of a layer's files, in the order of its index
pub(crate) mod digest; // digest and length of the canonical tar, computed once
pub(crate) mod write; // the canonical tar as a function of index and contents

// Streams of others.
pub(crate) mod extensions; // PAX and GNU headers about the member that follows
pub(crate) mod header; // the fields of a header block
pub(crate) mod index; // where the members of an archive are
pub(crate) mod member; // a member: name, kind, metadata
pub(crate) mod read; // members read one after another
pub(crate) mod sparse; // members with holes
