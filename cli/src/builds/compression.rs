//! `compression=` and `compression-level=`, of outputs and of caches
//! (docs/spec/cli.md 1.3 and 1.6).

use kiln_oci::Compression;

/// Understands the name of a compression; gzip if there is none.
pub(super) fn parse(name: Option<&str>) -> Result<Compression, String> {
    let Some(name) = name else {
        return Ok(Compression::Gzip);
    };
    Compression::named(name).ok_or_else(|| match name {
        "estargz" => {
            "layer compression type estargz is not supported: gzip and zstd are".to_owned()
        }
        other => format!("unsupported layer compression type: {other}"),
    })
}

/// Understands the level of a compression.
pub(super) fn parse_level(
    text: Option<String>,
    compression: Compression,
) -> Result<Option<u8>, String> {
    let levels = compression.levels();
    text.map(|text| {
        let level = text.parse().ok();
        let level = level.filter(|level: &u8| levels.contains(&i32::from(*level)));
        level.ok_or_else(|| {
            let (least, most) = (levels.start(), levels.end());
            format!("invalid compression-level {text:?}: expected {least} to {most}")
        })
    })
    .transpose()
}
