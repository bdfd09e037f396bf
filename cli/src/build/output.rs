//! `--output`: where the result of a build goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_cache::{Compression, ImageRef};
use kiln_engine::{Annotation, Destination, ImageOptions, LayoutForm, MediaTypes, Output};

use super::annotation;
use crate::csv;
use crate::terminal;

/// Says whether standard output is a terminal, which no archive may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardOutput {
    /// Somebody would see the bytes.
    Terminal,
    /// A file or a program.
    Other,
}

impl StandardOutput {
    /// Looks at this process's standard output.
    pub(crate) fn look() -> Self {
        match terminal::stdout_is_terminal() {
            true => Self::Terminal,
            false => Self::Other,
        }
    }
}

/// Parses one `--output`: a directory, `-`, or `type=T,key=value…`.
pub(crate) fn parse(text: &str, stdout: StandardOutput) -> Result<Output, String> {
    let fields = csv::fields(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        return match only.as_str() {
            "-" => Ok(Output::Tar(destination("-", "tar", stdout)?)),
            path => Ok(Output::Local(PathBuf::from(path))),
        };
    }
    let mut attributes = Attributes::parse(&fields)?;
    let kind = attributes
        .take("type")
        .ok_or_else(|| "type is required for output".to_owned())?;
    let output = match kind.as_str() {
        "image" => image(&mut attributes)?,
        "registry" => {
            attributes.set("push", "true");
            image(&mut attributes)?
        }
        "oci" => {
            let (to, form) = layout(&mut attributes, "oci", stdout)?
                .ok_or_else(|| "dest is required for oci output".to_owned())?;
            let image = options(&mut attributes)?;
            Output::Oci { to, form, image }
        }
        "docker" => match layout(&mut attributes, "docker", stdout)? {
            Some((to, form)) => {
                let image = options(&mut attributes)?;
                Output::Docker { to, form, image }
            }
            None => Output::Store,
        },
        "local" => {
            let path = attributes
                .take("dest")
                .ok_or_else(|| "dest is required for local output".to_owned())?;
            match path.as_str() {
                "-" => return Err("dest file not supported for local exporter: -".to_owned()),
                path => Output::Local(PathBuf::from(path)),
            }
        }
        "tar" => {
            let path = attributes.take("dest").unwrap_or_else(|| "-".to_owned());
            Output::Tar(destination(&path, "tar", stdout)?)
        }
        "cacheonly" => Output::CacheOnly,
        other => return Err(format!("exporter {other:?} could not be found")),
    };
    attributes.finish(&kind)?;
    Ok(output)
}

fn image(attributes: &mut Attributes) -> Result<Output, String> {
    let push = attributes.boolean("push")?.unwrap_or(false);
    // The local store keeps images as they are, unpacked or not.
    attributes.boolean("store")?;
    attributes.boolean("unpack")?;
    let image = options(attributes)?;
    match push {
        true => Ok(Output::Push(image)),
        false => Ok(Output::Store),
    }
}

/// Takes where an archive or directory goes; none without a destination.
fn layout(
    attributes: &mut Attributes,
    kind: &str,
    stdout: StandardOutput,
) -> Result<Option<(Destination, LayoutForm)>, String> {
    let form = match attributes.boolean("tar")? {
        Some(false) => LayoutForm::Directory,
        _ => LayoutForm::Archive,
    };
    match (attributes.take("dest"), form) {
        (Some(path), LayoutForm::Directory) if path == "-" => Err(format!(
            "{kind} exporter cannot write a directory to stdout"
        )),
        (Some(path), form) => Ok(Some((destination(&path, kind, stdout)?, form))),
        (None, LayoutForm::Archive) if kind == "oci" => {
            Ok(Some((destination("-", kind, stdout)?, form)))
        }
        (None, _) => Ok(None),
    }
}

fn destination(path: &str, kind: &str, stdout: StandardOutput) -> Result<Destination, String> {
    match (path, stdout) {
        ("", _) => Err(format!("dest is required for {kind} output")),
        ("-", StandardOutput::Terminal) => Err(format!(
            "dest file is required for {kind} exporter. refusing to write to console"
        )),
        ("-", StandardOutput::Other) => Ok(Destination::Stdout),
        (path, _) => Ok(Destination::Path(PathBuf::from(path))),
    }
}

/// Takes the attributes that all images have in common.
fn options(attributes: &mut Attributes) -> Result<ImageOptions, String> {
    let compression_name = attributes.take("compression");
    let compression = match compression_name.as_deref() {
        None | Some("gzip") => Compression::Gzip,
        Some("uncompressed") => Compression::None,
        Some("zstd") => Compression::Zstd,
        Some(other) => return Err(format!("unsupported layer compression type: {other}")),
    };
    let highest = match compression {
        Compression::Zstd => 22,
        _ => 9,
    };
    let level = attributes
        .take("compression-level")
        .map(|text| {
            let level = text.parse().ok().filter(|level: &u8| *level <= highest);
            level.ok_or_else(|| {
                format!("invalid compression-level {text:?}: expected 0 to {highest}")
            })
        })
        .transpose()?;
    let media_types = match attributes.boolean("oci-mediatypes")? {
        Some(false) => MediaTypes::Docker,
        _ => MediaTypes::Oci,
    };
    if media_types == MediaTypes::Docker && compression == Compression::Zstd {
        return Err(
            "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\""
                .to_owned(),
        );
    }
    let names = attributes.take("name").unwrap_or_default();
    let names = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(parse_tag)
        .collect::<Result<_, _>>()?;
    Ok(ImageOptions {
        compression,
        level,
        force: attributes.boolean("force-compression")?.unwrap_or(false),
        media_types,
        names,
        annotations: std::mem::take(&mut attributes.annotations),
    })
}

/// Parses a name that an image is to get.
pub(crate) fn parse_tag(text: &str) -> Result<ImageRef, String> {
    let name: ImageRef = text
        .parse()
        .map_err(|error| format!("invalid tag {text:?}: {error}"))?;
    match name.digest() {
        Some(_) => Err(format!(
            "invalid tag {text:?}: refusing to create a tag with a digest reference"
        )),
        None => Ok(name.with_default_tag()),
    }
}

/// Attributes that nobody has asked for yet.
struct Attributes {
    named: BTreeMap<String, String>,
    annotations: Vec<Annotation>,
}

impl Attributes {
    fn parse(fields: &[String]) -> Result<Self, String> {
        let mut attributes = Self {
            named: BTreeMap::new(),
            annotations: Vec::new(),
        };
        for field in fields {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid value {field}"))?;
            match annotation::parse_attribute(key.trim(), value) {
                Some(annotation) => attributes.annotations.push(annotation?),
                None => attributes.set(&key.trim().to_lowercase(), value),
            }
        }
        Ok(attributes)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.named.remove(key)
    }

    fn set(&mut self, key: &str, value: &str) {
        self.named.insert(key.to_owned(), value.to_owned());
    }

    fn boolean(&mut self, key: &str) -> Result<Option<bool>, String> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match crate::arguments::parse_bool(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("non-bool value {text:?} specified for {key}")),
        }
    }

    /// Fails if something is left: a wish that is not understood is not fulfilled.
    fn finish(self, kind: &str) -> Result<(), String> {
        let annotation = self.annotations.first().map(|_| "annotation");
        match self.named.keys().next().map(String::as_str).or(annotation) {
            Some(key) => Err(format!(
                "attribute {key:?} of output type {kind} is not supported"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Result<Output, String> {
        parse(text, StandardOutput::Other)
    }

    #[test]
    fn short_forms_are_directories_and_tars() {
        assert_eq!(output("out"), Ok(Output::Local("out".into())));
        assert_eq!(output("-"), Ok(Output::Tar(Destination::Stdout)));
        assert_eq!(
            parse("-", StandardOutput::Terminal),
            Err("dest file is required for tar exporter. refusing to write to console".to_owned())
        );
    }

    #[test]
    fn long_forms_have_types_and_attributes() {
        assert_eq!(
            output("type=oci,dest=a.tar"),
            Ok(Output::Oci {
                to: Destination::Path("a.tar".into()),
                form: LayoutForm::Archive,
                image: ImageOptions::default(),
            })
        );
        assert_eq!(
            output("Type=docker,dest=dir,TAR=false,compression=uncompressed"),
            Ok(Output::Docker {
                to: Destination::Path("dir".into()),
                form: LayoutForm::Directory,
                image: ImageOptions {
                    compression: Compression::None,
                    ..ImageOptions::default()
                },
            })
        );
        let Ok(Output::Push(image)) =
            output(r#"type=image,push=true,"name=a,b:1",compression=zstd,compression-level=19"#)
        else {
            panic!("it is to be pushed");
        };
        let names: Vec<String> = image.names.iter().map(ImageRef::familiar).collect();
        assert_eq!(names, ["a:latest", "b:1"]);
        assert_eq!(image.level, Some(19));
        assert_eq!(output("type=docker"), Ok(Output::Store));
        assert_eq!(output("type=image"), Ok(Output::Store));
        assert_eq!(output("type=cacheonly"), Ok(Output::CacheOnly));
        assert_eq!(
            output("type=registry"),
            Ok(Output::Push(ImageOptions::default()))
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            ("dest=x,", "invalid value "),
            ("dest=x", "type is required for output"),
            ("type=local", "dest is required for local output"),
            (
                "type=local,dest=-",
                "dest file not supported for local exporter: -",
            ),
            ("type=iso", "exporter \"iso\" could not be found"),
            (
                "type=image,push=maybe",
                "non-bool value \"maybe\" specified for push",
            ),
            (
                "type=oci,dest=-,tar=false",
                "oci exporter cannot write a directory to stdout",
            ),
            (
                "type=image,compression=zstd,oci-mediatypes=false",
                "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"",
            ),
            (
                "type=image,compression=lzma",
                "unsupported layer compression type: lzma",
            ),
            (
                "type=image,compression-level=10",
                "invalid compression-level \"10\": expected 0 to 9",
            ),
            (
                "type=oci,dest=x,platform-split=true",
                "attribute \"platform-split\" of output type oci is not supported",
            ),
        ] {
            assert_eq!(output(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn tags_are_names_without_digests() {
        assert_eq!(parse_tag("x").unwrap().familiar(), "x:latest");
        let digest = format!("x@sha256:{}", "0".repeat(64));
        assert!(parse_tag(&digest).unwrap_err().starts_with("invalid tag"));
        assert!(parse_tag("X").unwrap_err().starts_with("invalid tag"));
    }
}
