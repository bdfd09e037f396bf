//! What the lint rules find once variables have values and images have configs.
//!
//! The rules that need the syntax tree alone are the parser's. docs/spec/dockerfile.md 14.

use std::collections::BTreeMap;

use kiln_oci::{Image, ImageRef, Platform};
use kiln_parser::lint::rules;
use kiln_parser::{Span, expose};

use super::arguments::Arguments;
use super::options::PlanOptions;
use super::planner::Planner;
use super::stages;
use super::words::Words;

impl Planner<'_> {
    /// Rule InvalidDefaultArgInFrom: without build arguments, every base must still have a name. A
    /// base that can have none at all is refused besides.
    pub(crate) fn check_defaults(&mut self, platform: &Platform, target_stage: &str) {
        let bare = PlanOptions {
            build_args: BTreeMap::new(),
            ..self.options.clone()
        };
        let mut silent = Words::new(self.dockerfile.directives.escape);
        let defaults = Arguments::new(self.dockerfile, &bare, platform, target_stage, &mut silent);
        for stage in &self.dockerfile.stages {
            let base = &stage.from.image;
            let name = silent.expand(base, &defaults.global);
            if !silent.errors.is_empty() {
                // A default that cannot be expanded is an error of its own, not a finding.
                return;
            }
            if name.parse::<ImageRef>().is_err() {
                let finding = rules::invalid_default_arg_in_from(base.span, &base.raw);
                self.words.warnings.push(finding);
            }
        }
    }

    /// Rule InvalidBaseImagePlatform. A build context that the user gave in an image's place is not
    /// checked: the user chose it.
    pub(crate) fn check_platform(&mut self, stage: usize, image: &Image, expected: &Platform) {
        let at = &self.dockerfile.stages[stage].from.image;
        let mut silent = Words::new(self.dockerfile.directives.escape);
        let name = silent.expand(at, &self.arguments.global);
        if stages::is_context(self.dockerfile, stage, &name, &self.options.contexts) {
            return;
        }
        let found = image.config.platform();
        let differs = found.os != expected.os || found.architecture != expected.architecture;
        // A hand-made image may say nothing about its platform.
        if differs && !found.architecture.is_empty() {
            let (found, expected) = (found.to_string(), expected.to_string());
            let finding = rules::invalid_base_image_platform(at.span, &name, &found, &expected);
            self.words.warnings.push(finding);
        }
    }
}

impl Words {
    /// Rules ExposeProtoCasing and ExposeInvalidFormat.
    pub(super) fn check_ports(&mut self, ports: &expose::Ports, word: &str, span: Span) {
        if ports.miscased_protocol.is_some() {
            let finding = rules::expose_proto_casing(span, word);
            self.warnings.push(finding);
        }
        if ports.names_host {
            let finding = rules::expose_invalid_format(span, word);
            self.warnings.push(finding);
        }
    }
}
