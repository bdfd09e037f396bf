//! The rules' names, and what each one says.
//!
//! One function per rule makes its finding, so that this crate (from the tree alone) and the solver
//! (once it knows variables and images) report it in the same words.

use crate::diagnostic::Diagnostic;
use crate::quote::quote;
use crate::span::Span;

/// Declares the rules once: variant, kebab-case name for the address.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident $kebab:literal,)+) => {
        /// A lint rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the name people write in `# check=skip=…`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Says in a sentence what the rule looks for.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            const fn kebab(self) -> &'static str {
                match self { $(Self::$name => $kebab,)+ }
            }
        }
    };
}

rules! {
    /// A stage's name has upper-case letters.
    StageNameCasing "stage-name-casing",
    /// `FROM` and `AS` are not written in the same case.
    FromAsCasing "from-as-casing",
    /// A blank line stands inside a continued instruction.
    NoEmptyContinuation "no-empty-continuation",
    /// An instruction is not written in the case of most.
    ConsistentInstructionCasing "consistent-instruction-casing",
    /// Two stages have the same name.
    DuplicateStageName "duplicate-stage-name",
    /// A stage has a name that means something else.
    ReservedStageName "reserved-stage-name",
    /// A command is in shell form, so a shell gets the signals.
    JSONArgsRecommended "json-args-recommended",
    /// `MAINTAINER` is used.
    MaintainerDeprecated "maintainer-deprecated",
    /// `FROM` uses a variable that is no global argument.
    UndefinedArgInFrom "undefined-arg-in-from",
    /// The first `WORKDIR` is relative.
    WorkdirRelativePath "workdir-relative-path",
    /// A variable is used that nothing sets.
    UndefinedVar "undefined-var",
    /// An instruction that counts once stands more often.
    MultipleInstructionsDisallowed "multiple-instructions-disallowed",
    /// `ENV k v` instead of `ENV k=v`.
    LegacyKeyValueFormat "legacy-key-value-format",
    /// A base image is for another platform.
    InvalidBaseImagePlatform "",
    /// `--platform=$TARGETPLATFORM` says what is so anyway.
    RedundantTargetPlatform "redundant-target-platform",
    /// An `ARG` or `ENV` looks like a secret.
    SecretsUsedInArgOrEnv "secrets-used-in-arg-or-env",
    /// The arguments' defaults give no base image.
    InvalidDefaultArgInFrom "invalid-default-arg-in-from",
    /// `--platform` is a constant.
    FromPlatformFlagConstDisallowed "from-platform-flag-const-disallowed",
    /// A source is not in the context because it is ignored.
    CopyIgnoredFile "copy-ignored-file",
    /// A comment above `ARG` or `FROM` is no description.
    InvalidDefinitionDescription "invalid-definition-description",
    /// A protocol is not in lower case.
    ExposeProtoCasing "expose-proto-casing",
    /// `EXPOSE` names an address or host port.
    ExposeInvalidFormat "expose-invalid-format",
    /// An image has more layers than Docker runs. A rule of kiln's own.
    TooManyLayers "",
}

impl Rule {
    /// Finds a rule by its name; case does not matter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|rule| rule.name().eq_ignore_ascii_case(name))
    }

    /// Returns where the rule is explained, if it is.
    #[must_use]
    pub fn url(self) -> Option<String> {
        let kebab = self.kebab();
        (!kebab.is_empty()).then(|| format!("https://docs.docker.com/go/dockerfile/rule/{kebab}/"))
    }

    /// Returns whether a finding concerns the stage it is in rather than the file as a text. Stages
    /// that are not built have none of these.
    #[must_use]
    pub fn is_about_stages(self) -> bool {
        matches!(
            self,
            Self::JSONArgsRecommended
                | Self::WorkdirRelativePath
                | Self::UndefinedVar
                | Self::MultipleInstructionsDisallowed
                | Self::InvalidBaseImagePlatform
                | Self::SecretsUsedInArgOrEnv
                | Self::CopyIgnoredFile
                | Self::ExposeProtoCasing
                | Self::ExposeInvalidFormat
                | Self::TooManyLayers
        )
    }

    /// Returns whether a finding can be made as soon as the instruction is read, whatever follows.
    #[must_use]
    pub fn is_about_one_instruction(self) -> bool {
        matches!(
            self,
            Self::StageNameCasing
                | Self::FromAsCasing
                | Self::MaintainerDeprecated
                | Self::InvalidDefinitionDescription
        )
    }

    /// Returns whether the rule is off unless asked for.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        self == Self::InvalidDefinitionDescription
    }

    fn finding(self, span: Span, message: String) -> Diagnostic {
        Diagnostic::warning(self.name(), span, message)
    }
}

/// [`Rule::StageNameCasing`]
#[must_use]
pub fn stage_name_casing(span: Span, name: &str) -> Diagnostic {
    Rule::StageNameCasing
        .finding(span, format!("Stage name '{name}' should be lowercase"))
        .suggest(Some(&name.to_lowercase()))
}

/// [`Rule::FromAsCasing`]
#[must_use]
pub fn from_as_casing(span: Span, as_keyword: &str, from_keyword: &str) -> Diagnostic {
    let message = format!("'{as_keyword}' and '{from_keyword}' keywords' casing do not match");
    Rule::FromAsCasing.finding(span, message)
}

/// [`Rule::NoEmptyContinuation`]
#[must_use]
pub fn no_empty_continuation(span: Span) -> Diagnostic {
    Rule::NoEmptyContinuation.finding(span, "Empty continuation line".to_owned())
}

/// [`Rule::ConsistentInstructionCasing`]; `majority` is `lowercase` or `uppercase`.
#[must_use]
pub fn consistent_instruction_casing(span: Span, name: &str, majority: &str) -> Diagnostic {
    let message =
        format!("Command '{name}' should match the case of the command majority ({majority})");
    Rule::ConsistentInstructionCasing.finding(span, message)
}

/// [`Rule::DuplicateStageName`]
#[must_use]
pub fn duplicate_stage_name(span: Span, name: &str) -> Diagnostic {
    let message = format!(
        "Duplicate stage name {}, stage names should be unique",
        quote(name)
    );
    Rule::DuplicateStageName.finding(span, message)
}

/// [`Rule::ReservedStageName`]
#[must_use]
pub fn reserved_stage_name(span: Span, name: &str) -> Diagnostic {
    let name = quote(name);
    let message = format!("Stage name should not use the same name as reserved stage {name}");
    Rule::ReservedStageName.finding(span, message)
}

/// [`Rule::JSONArgsRecommended`]
#[must_use]
pub fn json_args_recommended(span: Span, instruction: &str) -> Diagnostic {
    let message = format!(
        "JSON arguments recommended for {instruction} to prevent unintended behavior related to \
         OS signals"
    );
    Rule::JSONArgsRecommended.finding(span, message)
}

/// [`Rule::MaintainerDeprecated`]
#[must_use]
pub fn maintainer_deprecated(span: Span) -> Diagnostic {
    let message = "Maintainer instruction is deprecated in favor of using label";
    Rule::MaintainerDeprecated.finding(span, message.to_owned())
}

/// [`Rule::UndefinedArgInFrom`]
#[must_use]
pub fn undefined_arg_in_from(span: Span, name: &str, closest: Option<&str>) -> Diagnostic {
    let hint = closest
        .map(|name| format!(" (did you mean {name}?)"))
        .unwrap_or_default();
    let message = format!("FROM argument '{name}' is not declared{hint}");
    Rule::UndefinedArgInFrom.finding(span, message)
}

/// [`Rule::WorkdirRelativePath`]
#[must_use]
pub fn workdir_relative_path(span: Span, path: &str) -> Diagnostic {
    let path = quote(path);
    let message =
        format!("Relative workdir {path} can have unexpected results if the base image changes");
    Rule::WorkdirRelativePath.finding(span, message)
}

/// [`Rule::UndefinedVar`]
#[must_use]
pub fn undefined_var(span: Span, name: &str, closest: Option<&str>) -> Diagnostic {
    let hint = closest
        .map(|name| format!(" (did you mean ${name}?)"))
        .unwrap_or_default();
    let message = format!("Usage of undefined variable '${name}'{hint}");
    Rule::UndefinedVar.finding(span, message)
}

/// [`Rule::MultipleInstructionsDisallowed`]; points at the one that does not count.
#[must_use]
pub fn multiple_instructions_disallowed(span: Span, instruction: &str) -> Diagnostic {
    let message = format!(
        "Multiple {instruction} instructions should not be used in the same stage because only \
         the last one will be used"
    );
    Rule::MultipleInstructionsDisallowed.finding(span, message)
}

/// [`Rule::LegacyKeyValueFormat`]
#[must_use]
pub fn legacy_key_value_format(span: Span, instruction: &str) -> Diagnostic {
    let message = format!(
        "\"{instruction} key=value\" should be used instead of legacy \"{instruction} key value\" \
         format"
    );
    Rule::LegacyKeyValueFormat.finding(span, message)
}

/// [`Rule::InvalidBaseImagePlatform`]
#[must_use]
pub fn invalid_base_image_platform(
    span: Span,
    image: &str,
    found: &str,
    expected: &str,
) -> Diagnostic {
    let (found, expected) = (quote(found), quote(expected));
    let message = format!(
        "Base image {image} was pulled with platform {found}, expected {expected} for current build"
    );
    Rule::InvalidBaseImagePlatform.finding(span, message)
}

/// [`Rule::RedundantTargetPlatform`]
#[must_use]
pub fn redundant_target_platform(span: Span, written: &str) -> Diagnostic {
    let message = format!(
        "Setting platform to predefined {written} in FROM is redundant as this is the default \
         behavior"
    );
    Rule::RedundantTargetPlatform.finding(span, message)
}

/// [`Rule::SecretsUsedInArgOrEnv`]
#[must_use]
pub fn secrets_used_in_arg_or_env(span: Span, instruction: &str, name: &str) -> Diagnostic {
    let name = quote(name);
    let message =
        format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {name})");
    Rule::SecretsUsedInArgOrEnv.finding(span, message)
}

/// [`Rule::InvalidDefaultArgInFrom`]
#[must_use]
pub fn invalid_default_arg_in_from(span: Span, image: &str) -> Diagnostic {
    let message =
        format!("Default value for ARG {image} results in empty or invalid base image name");
    Rule::InvalidDefaultArgInFrom.finding(span, message)
}

/// [`Rule::FromPlatformFlagConstDisallowed`]
#[must_use]
pub fn from_platform_flag_const_disallowed(span: Span, platform: &str) -> Diagnostic {
    let platform = quote(platform);
    let message = format!("FROM --platform flag should not use constant value {platform}");
    Rule::FromPlatformFlagConstDisallowed.finding(span, message)
}

/// [`Rule::CopyIgnoredFile`]; `verb` is `Copy` or `Add`.
#[must_use]
pub fn copy_ignored_file(span: Span, verb: &str, file: &str) -> Diagnostic {
    let file = quote(file);
    let message = format!("Attempting to {verb} file {file} that is excluded by .dockerignore");
    Rule::CopyIgnoredFile.finding(span, message)
}

/// [`Rule::InvalidDefinitionDescription`]; `name` is what the comment should start with.
#[must_use]
pub fn invalid_definition_description(span: Span, instruction: &str, name: &str) -> Diagnostic {
    let message =
        format!("Comment for {instruction} should follow the format: `# {name} <description>`");
    Rule::InvalidDefinitionDescription.finding(span, message)
}

/// [`Rule::ExposeProtoCasing`]
#[must_use]
pub fn expose_proto_casing(span: Span, protocol: &str) -> Diagnostic {
    let message =
        format!("Defined protocol '{protocol}' in EXPOSE instruction should be lowercase");
    Rule::ExposeProtoCasing.finding(span, message)
}

/// [`Rule::ExposeInvalidFormat`]
#[must_use]
pub fn expose_invalid_format(span: Span, word: &str) -> Diagnostic {
    let message = format!(
        "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
    );
    Rule::ExposeInvalidFormat.finding(span, message)
}

/// [`Rule::TooManyLayers`]
#[must_use]
pub fn too_many_layers(span: Span, layers: usize, most: usize) -> Diagnostic {
    let message = format!(
        "The image has {layers} layers, Docker runs images of at most {most}: join instructions, or \
         copy from a stage"
    );
    Rule::TooManyLayers.finding(span, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for rule in Rule::ALL {
            assert!(rule.description().ends_with('.'), "{}", rule.name());
            assert_eq!(Rule::from_name(&rule.name().to_lowercase()), Some(*rule));
            let letters = rule.kebab().replace('-', "");
            let documented = !matches!(rule, Rule::InvalidBaseImagePlatform | Rule::TooManyLayers);
            assert_eq!(
                letters == rule.name().to_lowercase(),
                documented,
                "{}",
                rule.name()
            );
        }
        assert_eq!(
            Rule::UndefinedVar.url().as_deref(),
            Some("https://docs.docker.com/go/dockerfile/rule/undefined-var/")
        );
        assert_eq!(Rule::InvalidBaseImagePlatform.url(), None);
        assert_eq!(Rule::from_name("Nothing"), None);
    }
}
