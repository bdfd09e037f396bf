//! `compression=` and `compression-level=`, of outputs and of caches
//! (docs/spec/cli.md 1.3 and 1.6).

use kiln_oci::Compression;

/// Understands the name of a compression; gzip if there is none.
pub(super) fn parse(name: Option<&str>) -> Result<Compression, String> {
    match name {
        None | Some("gzip") => Ok(Compression::Gzip),
        Some("uncompressed") => Ok(Compression::None),
        Some("zstd") => Ok(Compression::Zstd),
        Some("estargz") => {
            Err("layer compression type estargz is not supported: gzip and zstd are".to_owned())
        }
        Some(other) => Err(format!("unsupported layer compression type: {other}")),
    }
}

/// Understands the level of a compression.
pub(super) fn parse_level(
    text: Option<String>,
    compression: Compression,
) -> Result<Option<u8>, String> {
    let highest = match compression {
        Compression::Zstd => 22,
        Compression::Gzip | Compression::None => 9,
    };
    text.map(|text| {
        let level = text.parse().ok().filter(|level: &u8| *level <= highest);
        level.ok_or_else(|| format!("invalid compression-level {text:?}: expected 0 to {highest}"))
    })
    .transpose()
}
